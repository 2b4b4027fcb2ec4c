//! The files of the page in the browser: part of the program, so that nothing comes from elsewhere and nothing can be missing.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::render::{gzip, takes_gzip};

/// A file of the page, by its name in `src/web/dashboard/`, and its type.
macro_rules! file {
    ($name:literal, $kind:literal) => {
        Asset::new($name, concat!($kind, "; charset=utf-8"), include_bytes!(concat!("dashboard/", $name)))
    };
}

/// The file that is served at `/`; without it there is the plain page.
pub(super) const PAGE: &str = "index.html";

/// All files of the page in `src/web/dashboard/`, served at `/assets/NAME`.
pub(super) static FILES: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    vec![
        file!("api.js", "text/javascript"),
        file!("app.js", "text/javascript"),
        file!("chart.js", "text/javascript"),
        file!("circuits.js", "text/javascript"),
        file!("dialog.js", "text/javascript"),
        file!("dom.js", "text/javascript"),
        file!("fleet.js", "text/javascript"),
        file!("format.js", "text/javascript"),
        file!("icon.svg", "image/svg+xml"),
        file!("index.html", "text/html"),
        file!("list.js", "text/javascript"),
        file!("map.js", "text/javascript"),
        file!("miners.js", "text/javascript"),
        file!("moves.js", "text/javascript"),
        file!("signals.js", "text/javascript"),
        file!("states.js", "text/javascript"),
        file!("stream.js", "text/javascript"),
        file!("style.css", "text/css"),
        file!("theme.js", "text/javascript"),
        file!("why.js", "text/javascript"),
    ]
});

/// Only from here: no script or style in the page itself, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file that is part of the program, with what is worked out of it once.
#[derive(Debug)]
pub(super) struct Asset {
    name: &'static str,
    kind: HeaderValue,
    bytes: Bytes,
    tag: HeaderValue,
    /// `None` where that is not smaller.
    compressed: Option<Bytes>,
}

impl Asset {
    /// A file. Lines of a script that are nothing but a comment, and its indentation, stay at home: they are for whoever changes it.
    fn new(name: &'static str, kind: &'static str, source: &'static [u8]) -> Self {
        let bytes = if kind.starts_with("text/javascript") {
            source
                .split_inclusive(|byte| *byte == b'\n')
                .map(<[u8]>::trim_ascii_start)
                .filter(|line| !line.starts_with(b"//"))
                .flatten()
                .copied()
                .collect()
        } else {
            Bytes::from_static(source)
        };
        let hash = Sha256::digest(&bytes);
        let short: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let tag = HeaderValue::from_str(&format!("\"{short}\""));
        let compressed = gzip(&bytes).ok().filter(|small| small.len() < bytes.len());
        Self {
            name,
            kind: HeaderValue::from_static(kind),
            bytes,
            // Eight hexadecimal bytes in quotes are a header.
            tag: tag.unwrap_or_else(|_| HeaderValue::from_static("\"0\"")),
            compressed: compressed.map(Bytes::from),
        }
    }
}

/// A file by its name.
pub(super) fn find<'f>(files: &'f [Asset], name: &str) -> Option<&'f Asset> {
    files.iter().find(|file| file.name == name)
}

/// A file as an answer. Whoever has it already is told so: a browser asks each time, and an update of the program is seen at once.
pub(super) fn serve(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let fixed = [
        (header::ETAG, asset.tag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
    let tag = asset.tag.to_str().unwrap_or("");
    let mut tags = known.flat_map(|tags| tags.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    if tags.any(|known| known == tag || known == "*") {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    let kind = [(header::CONTENT_TYPE, asset.kind.clone())];
    match asset.compressed.as_ref().filter(|_| takes_gzip(headers)) {
        Some(small) => {
            let coding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
            (fixed, kind, coding, small.clone()).into_response()
        }
        None => (fixed, kind, asset.bytes.clone()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole page, as a browser without compression loads it: small enough for a phone on a bad line.
    const MOST: usize = 150_000;

    #[test]
    fn every_file_of_the_folder_is_served_and_all_of_them_are_small() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/dashboard");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let served: Vec<&str> = FILES.iter().map(|file| file.name).collect();
        assert_eq!(there, served);
        let size: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        assert!(size <= MOST, "{size} bytes");
        // Indentation is not sent: a text over several lines would lose it.
        for file in FILES.iter().filter(|file| file.name.ends_with(".js")) {
            let whole = |line: &[u8]| line.iter().filter(|byte| **byte == b'`').count().is_multiple_of(2);
            assert!(file.bytes.split(|byte| *byte == b'\n').all(whole), "{}", file.name);
        }
    }

    static TEST: LazyLock<Vec<Asset>> =
        LazyLock::new(|| vec![Asset::new("a.js", "text/javascript; charset=utf-8", &[b'a'; 500])]);

    #[test]
    fn comments_of_a_script_are_not_sent_and_nothing_else_is_lost() {
        let source = b"// What it does.\nconst at = 'http://x'; // why\n\t// Why.\n\tif (at) go();\n";
        let served = Asset::new("a.js", "text/javascript; charset=utf-8", source);
        assert_eq!(served.bytes, "const at = 'http://x'; // why\nif (at) go();\n");
        assert_eq!(Asset::new("a.css", "text/css; charset=utf-8", b"// x\n").bytes, "// x\n");
    }

    #[test]
    fn a_file_is_compressed_and_sent_once_to_who_has_it() {
        let asset = find(&TEST, "a.js").unwrap();
        assert!(find(&TEST, "b.js").is_none() && find(&TEST, "../a.js").is_none());
        let mut headers = HeaderMap::new();
        let plain = serve(asset, &headers);
        assert_eq!(plain.headers()["content-type"], "text/javascript; charset=utf-8");
        assert!(
            plain.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'self'")
        );
        assert!(!plain.headers().contains_key("content-encoding"));
        headers.insert("accept-encoding", HeaderValue::from_static("gzip, br"));
        assert_eq!(serve(asset, &headers).headers()["content-encoding"], "gzip");
        let tag = plain.headers()["etag"].clone();
        headers.insert("if-none-match", tag);
        let again = serve(asset, &headers);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        headers.insert("if-none-match", HeaderValue::from_static("\"other\""));
        assert_eq!(serve(asset, &headers).status(), StatusCode::OK);
    }
}
