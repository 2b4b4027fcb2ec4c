//! Time stamps of somebody else (RFC 3161): the head of the chain was there at a time that this machine's clock does not say. Pure:
//! what is asked, and what is made of an answer.
//!
//! What is stamped is the same text that the daemon signs, `NUMBER:HASH`, under SHA-256. Whether the authority's signature holds is for
//! whoever verifies, with `openssl ts -verify` and the authority's certificate from elsewhere. Here only what makes a token worth keeping
//! is looked at: it is one, for this text, and answers this question.

use der::asn1::{Any, Int, ObjectIdentifier, OctetString, OctetStringRef};
use der::{AnyRef, Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};
use sha2::{Digest as _, Sha256};
use x509_tsp::{MessageImprint, TimeStampReq, TimeStampResp, TspVersion};

/// SHA-256 (RFC 5754).
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// What is signed in a token (RFC 3161, 2.4.2).
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
/// Signed data (RFC 5652, 5.1).
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// It cannot be read.
    #[error("the answer is no time stamp: {0}; is the address that of an RFC 3161 service?")]
    Unreadable(String),
    /// The authority says no.
    #[error("the authority refuses ({0}); its terms or its log say why")]
    Refused(String),
    /// The token is for something else.
    #[error(
        "the token is not for what was asked; the authority, or something in between, answers with old tokens"
    )]
    Other,
}

/// A token and when it was made by its own word, as written in it: `YYYYMMDDHHMMSS[.f]Z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// The token, in DER.
    pub token: Vec<u8>,
    /// Its time.
    pub time: String,
}

fn unreadable(error: der::Error) -> StampError {
    StampError::Unreadable(error.to_string())
}

/// The question for a text, in DER. The nonce is a number that no question before had.
///
/// # Errors
/// It cannot be written, which does not happen.
pub fn request(text: &str, nonce: [u8; 8]) -> Result<Vec<u8>, StampError> {
    let imprint = MessageImprint {
        hash_algorithm: cms::cert::x509::spki::AlgorithmIdentifier {
            oid: SHA_256,
            parameters: Some(Any::null()),
        },
        hashed_message: OctetString::new(Sha256::digest(text).to_vec()).map_err(unreadable)?,
    };
    let request = TimeStampReq {
        version: TspVersion::V1,
        message_imprint: imprint,
        req_policy: None,
        nonce: Some(number(nonce)?),
        cert_req: true,
        extensions: None,
    };
    request.to_der().map_err(unreadable)
}

/// A nonce as a positive number without zeros in front, which DER forbids.
fn number(nonce: [u8; 8]) -> Result<Int, StampError> {
    let mut bytes = nonce;
    let [first, ..] = &mut bytes;
    *first = (*first & 0x7f) | 0x40;
    Int::new(&bytes).map_err(unreadable)
}

/// What an answer to [`request`] brings.
///
/// # Errors
/// [`StampError`].
pub fn read(answer: &[u8], text: &str, nonce: [u8; 8]) -> Result<Stamped, StampError> {
    let response = TimeStampResp::from_der(answer).map_err(unreadable)?;
    let status = response.status.status;
    let granted =
        matches!(status, cmpv2::status::PkiStatus::Accepted | cmpv2::status::PkiStatus::GrantedWithMods);
    let Some(token) = response.time_stamp_token.filter(|_| granted) else {
        return Err(StampError::Refused(format!("{status:?}")));
    };
    let token = token.to_der().map_err(unreadable)?;
    let info = info(&token)?;
    let asked = number(nonce)?;
    if !info.is_for(text) || info.nonce.as_deref() != Some(asked.as_bytes()) {
        return Err(StampError::Other);
    }
    Ok(Stamped { token, time: info.time })
}

/// Whether a token is for a text, and its time by its own word.
///
/// # Errors
/// It is none.
pub fn time_of(token: &[u8], text: &str) -> Result<String, StampError> {
    let info = info(token)?;
    if info.is_for(text) { Ok(info.time) } else { Err(StampError::Other) }
}

/// What of a token is looked at.
struct Info {
    algorithm: ObjectIdentifier,
    hash: Vec<u8>,
    time: String,
    nonce: Option<Vec<u8>>,
}

impl Info {
    fn is_for(&self, text: &str) -> bool {
        self.algorithm == SHA_256 && self.hash == Sha256::digest(text).to_vec()
    }
}

/// Reads what is signed in a token. By hand, member by member: authorities write fractions of seconds, which the library's type of a time
/// refuses.
fn info(token: &[u8]) -> Result<Info, StampError> {
    let content = cms::content_info::ContentInfo::from_der(token).map_err(unreadable)?;
    if content.content_type != SIGNED_DATA {
        return Err(StampError::Unreadable("it holds nothing that is signed".into()));
    }
    let signed: cms::signed_data::SignedData = content.content.decode_as().map_err(unreadable)?;
    let inner =
        signed.encap_content_info.econtent.filter(|_| signed.encap_content_info.econtent_type == TST_INFO);
    let inner = inner.ok_or_else(|| StampError::Unreadable("what is signed is no time stamp".into()))?;
    let inner: &OctetStringRef = &inner.decode_as().map_err(unreadable)?;
    let mut reader = SliceReader::new(inner.as_bytes()).map_err(unreadable)?;
    let mut found = Info { algorithm: SHA_256, hash: Vec::new(), time: String::new(), nonce: None };
    let all = AnyRef::decode(&mut reader).map_err(unreadable)?;
    all.sequence(|members| {
        let _version = AnyRef::decode(members)?;
        let _policy = ObjectIdentifier::decode(members)?;
        let imprint = MessageImprint::decode(members)?;
        (found.algorithm, found.hash) = (imprint.hash_algorithm.oid, imprint.hashed_message.into_bytes());
        let _serial = AnyRef::decode(members)?;
        let time = AnyRef::decode(members)?;
        if time.tag() == Tag::GeneralizedTime {
            found.time = String::from_utf8_lossy(time.value())
                .chars()
                .filter(char::is_ascii_graphic)
                .take(32)
                .collect();
        }
        while !members.is_finished() {
            let member = AnyRef::decode(members)?;
            // Of what may follow only the nonce is an integer of its own.
            if member.tag() == Tag::Integer {
                found.nonce = Some(member.value().to_vec());
            }
        }
        Ok(())
    })
    .map_err(unreadable)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_what_openssl_asks() {
        let request = request("7:ab", [0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
        // SEQUENCE, version 1, imprint of SHA-256 with its 32 bytes, nonce, certificates wanted.
        assert_eq!(request.first(), Some(&0x30));
        assert_eq!(request.get(2..5), Some(&[2, 1, 1][..]));
        assert!(request.ends_with(&[2, 8, 0x40, 1, 2, 3, 4, 5, 6, 7, 1, 1, 0xff]));
        assert!(request.windows(32).any(|window| window == Sha256::digest("7:ab").as_slice()));
    }

    #[test]
    fn what_is_no_time_stamp_is_told_and_panics_nowhere() {
        for answer in [
            &b""[..],
            b"<html>",
            &[0x30, 0x03, 0x02, 0x01, 0x02],
            &[0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x02],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(read(answer, "1:a", [9; 8]).is_err(), "{answer:?}");
            assert!(time_of(answer, "1:a").is_err(), "{answer:?}");
        }
        // Rejection, without a token.
        let refused = read(&[0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x02], "1:a", [9; 8]);
        assert_eq!(refused, Err(StampError::Refused("Rejection".into())));
    }
}
