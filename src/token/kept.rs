//! The file of tokens that `ballast token` makes: names, scopes and hashes, never a token.
//!
//! It belongs to the owner of its folder and is for nobody else (0600). It is replaced as a whole, so that a reader sees the old or
//! the new one. Two writers are kept apart by a lock on the folder: a lock file in a folder of the service's account would be
//! a place where that account could lay a link for root.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Hash, Scopes, Token};
use crate::files::{self, Readers};
use crate::secret::Secret;

/// The name of the file in the folder of the service.
pub const FILE: &str = "tokens.json";
/// What every token begins with that is made here, so that programs which look for secrets in texts find it.
pub const PREFIX: &str = "ballast_";
/// More than any site has.
pub const MOST: usize = 64;
/// The longest name, in bytes.
pub const LONGEST_NAME: usize = 64;
/// The longest file that is read, in bytes: 64 entries are a third of it.
const LARGEST: u64 = 64 * 1024;
/// The shape of the file.
const VERSION: u32 = 1;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It cannot be read or written.
    #[error("{path}: {what}: {source}; {help}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What failed.
        what: &'static str,
        /// Why.
        source: io::Error,
        /// What to do.
        help: &'static str,
    },
    /// What stands in it is no list of tokens.
    #[error(
        "{path}: {reason}; put a copy in its place, or delete it and make its tokens anew with `ballast token create`"
    )]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// Somebody else is writing it.
    #[error("{0}: another `ballast token` is at work on it; try again when it is done")]
    Busy(PathBuf),
    /// It has one of that name.
    #[error("there is a token `{0}` already; revoke it first, or choose another name")]
    Taken(String),
    /// It has none of that name.
    #[error("there is no token `{name}`; {there}")]
    NotThere {
        /// What was asked for.
        name: String,
        /// Which there are.
        there: String,
    },
    /// It is full.
    #[error(
        "there are {MOST} tokens already, which is the most; revoke those that nobody uses (`ballast token list`)"
    )]
    Full,
}

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Its hash, as [`struct@Hash`] is written.
    pub hash: String,
    /// What it may do: `limits`, `read`, `operator`.
    pub scopes: Vec<String>,
    /// The source for which it orders.
    pub source: Option<String>,
    /// When it was made, in milliseconds since 1970 (UTC).
    pub created: i64,
    /// From when on it is not known any more, in milliseconds since 1970 (UTC); `None` for never.
    pub expires: Option<i64>,
}

impl Kept {
    /// What the door needs to know; in words, what is wrong with it.
    fn token(&self) -> Result<Token, String> {
        let Self { name, hash, scopes: words, source, .. } = self;
        if !is_name(name) {
            return Err(String::from("a token has a name that is none"));
        }
        let hash = hash.parse::<Hash>().map_err(|error| format!("the hash of `{name}`: {error}"))?;
        let scopes = Scopes::of(words.iter().map(String::as_str))
            .ok_or_else(|| format!("the scopes of `{name}` are none"))?;
        if scopes.limits != source.is_some() {
            return Err(format!(
                "`{name}` has a source without the scope `limits`, or that scope without one"
            ));
        }
        let (name, source) = (name.as_str().into(), source.clone());
        Ok(Token { name, secret: None, hash: Some(hash), scopes, source, expires: self.expires })
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    version: u32,
    tokens: Vec<Kept>,
}

/// Whether a token may be called this.
pub fn is_name(name: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(sound)
}

/// A new token: 256 bits of chance in letters, digits, `-` and `_`.
pub fn make() -> Secret {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    // The generator of this thread is made for secrets, and seeded by the operating system.
    let chance: [u8; 32] = rand::random();
    Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(chance)))
}

/// All that are kept; none where there is no file.
///
/// # Errors
/// The file cannot be read, is too large, or is no list of tokens.
pub fn read(path: &Path) -> Result<Vec<Kept>, KeptError> {
    let failed = |source| KeptError::Io {
        path: path.to_owned(),
        what: "cannot be read",
        source,
        help: "it must be a file that belongs to the account of the service",
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a file")));
    }
    let corrupt = |reason: String| KeptError::Corrupt { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST {
        return Err(corrupt(format!("it is larger than {} KiB", LARGEST / 1024)));
    }
    let whole: Whole = serde_json::from_slice(&bytes)
        .map_err(|error| corrupt(format!("it is no list of tokens: {error}")))?;
    if whole.version != VERSION {
        let version = whole.version;
        return Err(corrupt(format!("it has the shape {version}, and this program knows {VERSION}")));
    }
    if whole.tokens.len() > MOST {
        return Err(corrupt(format!("it has {} tokens; the most is {MOST}", whole.tokens.len())));
    }
    for (at, kept) in whole.tokens.iter().enumerate() {
        kept.token().map_err(corrupt)?;
        if whole.tokens.iter().take(at).any(|other| other.name == kept.name) {
            return Err(corrupt(format!("it has `{}` twice", kept.name)));
        }
    }
    Ok(whole.tokens)
}

/// All that are kept, as the door needs them.
///
/// # Errors
/// As [`read`].
pub fn tokens(path: &Path) -> Result<Vec<Token>, KeptError> {
    let corrupt = |reason: String| KeptError::Corrupt { path: path.to_owned(), reason };
    read(path)?.iter().map(|kept| kept.token().map_err(corrupt)).collect()
}

/// Adds one.
///
/// # Errors
/// There is one of that name, there are too many, or the file cannot be read or written.
pub fn add(path: &Path, kept: Kept) -> Result<(), KeptError> {
    change(path, |tokens| {
        if tokens.iter().any(|other| other.name == kept.name) {
            return Err(KeptError::Taken(kept.name));
        }
        if tokens.len() >= MOST {
            return Err(KeptError::Full);
        }
        tokens.push(kept);
        Ok(())
    })
}

/// Takes one out.
///
/// # Errors
/// There is none of that name, or the file cannot be read or written.
pub fn remove(path: &Path, name: &str) -> Result<(), KeptError> {
    change(path, |tokens| {
        let Some(at) = tokens.iter().position(|kept| kept.name == name) else {
            let names: Vec<&str> = tokens.iter().map(|kept| kept.name.as_str()).collect();
            let there = match names.is_empty() {
                true => format!("{} has none", path.display()),
                false => format!("there are {}", names.join(", ")),
            };
            return Err(KeptError::NotThere { name: name.to_owned(), there });
        };
        tokens.remove(at);
        Ok(())
    })
}

/// Reads, changes and writes, with no other writer between.
fn change(path: &Path, how: impl FnOnce(&mut Vec<Kept>) -> Result<(), KeptError>) -> Result<(), KeptError> {
    let folder = files::folder(path);
    let failed = |what, help| {
        let path = folder.to_owned();
        move |source| KeptError::Io { path, what, source, help }
    };
    let help = "run it as root or as the account of the service (sudo -u ballast), or name a file with tokens_file in [web]";
    let locked = match File::open(folder) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().mode(0o700).create(folder).map_err(failed("cannot be made", help))?;
            File::open(folder).map_err(failed("cannot be opened", help))?
        }
        Err(error) => return Err(failed("cannot be opened", help)(error)),
    };
    match locked.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Err(KeptError::Busy(path.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => return Err(failed("cannot be locked", help)(error)),
    }
    let mut tokens = read(path)?;
    how(&mut tokens)?;
    write(path, tokens).map_err(|source| KeptError::Io {
        path: path.to_owned(),
        what: "cannot be written",
        source,
        help,
    })
}

fn write(path: &Path, tokens: Vec<Kept>) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(&Whole { version: VERSION, tokens })?;
    text.push(b'\n');
    files::replace(path, &text, Readers::FolderOwner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, gone at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ballast-kept-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join(FILE)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn kept(name: &str) -> Kept {
        Kept {
            name: name.into(),
            hash: Hash::of(name.as_bytes()).to_string(),
            scopes: vec!["read".into()],
            source: None,
            created: 1_790_000_000_000,
            expires: None,
        }
    }

    #[test]
    fn tokens_are_long_chance_and_begin_with_what_scanners_look_for() {
        let (one, other) = (make(), make());
        assert!(one != other);
        let rest = one.expose().strip_prefix(PREFIX).unwrap();
        assert_eq!(rest.len(), 43, "256 bits, six in each letter");
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_graphic()));
    }

    #[test]
    fn what_is_added_is_read_until_it_is_removed_and_the_file_is_for_one_account() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new("add");
        let file = folder.file();
        assert_eq!(read(&file).unwrap(), []);
        let aggregator =
            Kept { scopes: vec!["limits".into()], source: Some("aggregator".into()), ..kept("aggregator") };
        add(&file, aggregator.clone()).unwrap();
        add(&file, kept("page")).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&file).unwrap(), [aggregator.clone(), kept("page")]);
        assert!(matches!(add(&file, kept("page")), Err(KeptError::Taken(_))));
        remove(&file, "page").unwrap();
        let told = remove(&file, "page").unwrap_err().to_string();
        assert!(told.contains("there are aggregator"), "{told}");
        assert_eq!(read(&file).unwrap(), [aggregator]);
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn no_more_than_64_are_kept() {
        let folder = Folder::new("full");
        let tokens = (0..MOST).map(|number| kept(&format!("t{number}"))).collect();
        write(&folder.file(), tokens).unwrap();
        assert_eq!(tokens_len(&folder), MOST);
        assert!(matches!(add(&folder.file(), kept("one-more")), Err(KeptError::Full)));
    }

    fn tokens_len(folder: &Folder) -> usize {
        tokens(&folder.file()).unwrap().len()
    }

    #[test]
    fn two_writers_lose_nothing_of_each_other() {
        let folder = Folder::new("two");
        let file = folder.file();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let file = &file;
                scope.spawn(move || {
                    for number in 0..8 {
                        let mut again = true;
                        while again {
                            let added = add(file, kept(&format!("t{writer}-{number}")));
                            again = matches!(added, Err(KeptError::Busy(_)));
                            assert!(again || added.is_ok(), "{added:?}");
                        }
                    }
                });
            }
        });
        assert_eq!(tokens_len(&folder), 32);
    }

    #[test]
    fn a_file_that_is_none_is_told_with_its_place_and_is_not_overwritten() {
        let folder = Folder::new("corrupt");
        let file = folder.file();
        let good = |change: &dyn Fn(&mut Kept)| {
            let mut token = kept("one");
            change(&mut token);
            serde_json::to_string(&Whole { version: VERSION, tokens: vec![token] }).unwrap()
        };
        let twice = Whole { version: VERSION, tokens: vec![kept("one"), kept("one")] };
        let many = Whole { version: VERSION, tokens: (0..65).map(|n| kept(&format!("t{n}"))).collect() };
        for (text, words) in [
            (String::from("{\n  \"version\": 1,\n"), "line 3"),
            (String::from("{\"version\":2,\"tokens\":[]}"), "the shape 2"),
            (good(&|token| token.hash = "sha256:00".into()), "the hash of `one`"),
            (good(&|token| token.scopes = vec!["all".into()]), "the scopes of `one`"),
            (good(&|token| token.scopes.clear()), "the scopes of `one`"),
            (good(&|token| token.source = Some("x".into())), "without the scope `limits`"),
            (good(&|token| token.name = "a b".into()), "a name that is none"),
            (serde_json::to_string(&twice).unwrap(), "`one` twice"),
            (serde_json::to_string(&many).unwrap(), "65 tokens"),
            (" ".repeat(70_000), "larger than 64 KiB"),
        ] {
            std::fs::write(&file, &text).unwrap();
            let told = tokens(&file).unwrap_err().to_string();
            assert!(told.contains(words) && told.contains("tokens.json"), "{words}: {told}");
            assert!(add(&file, kept("two")).is_err());
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(tokens(&file).unwrap_err().to_string().contains("not a file"));
    }

    #[test]
    fn a_link_in_the_place_of_the_new_file_is_not_followed() {
        let folder = Folder::new("link");
        let aim = folder.0.join("aim");
        std::fs::write(&aim, "precious").unwrap();
        std::os::unix::fs::symlink(&aim, folder.0.join("tokens.json.new")).unwrap();
        add(&folder.file(), kept("one")).unwrap();
        assert_eq!(std::fs::read_to_string(&aim).unwrap(), "precious");
        assert_eq!(tokens_len(&folder), 1);
    }
}
