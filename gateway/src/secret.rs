//! Secrets in files of their own: read once, before the process confines itself.

use crate::config::read_bounded;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The shortest one. It may be as long as a line.
const MIN: usize = 16;
const MAX: u64 = 1024;

/// Reads a secret: one line, without its end. Others than the owner and the group may not read the file, and nobody but the
/// owner may write it.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = read_bounded(path, MAX)?;
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o027 != 0 {
        let why = format!("it has mode {:03o}: everybody could know it; run `chmod 600` on it", mode & 0o777);
        return Err(io::Error::other(why));
    }
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.len() < MIN || bytes.contains(&b'\n') {
        let why =
            format!("it must be one line of {MIN} characters or more; `openssl rand -hex 24` makes one");
        return Err(io::Error::other(why));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_that_few_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            read(&path).map_err(|e| e.to_string())
        };
        for mode in [0o600, 0o400, 0o640] {
            assert_eq!(write("sixteen letters.\n", mode).unwrap(), b"sixteen letters.");
        }
        for mode in [0o644, 0o660, 0o604] {
            assert!(write("sixteen letters.\n", mode).unwrap_err().contains("chmod"), "{mode:o}");
        }
        for text in ["", "fifteen letters\n", "two lines of\nletters enough", &"x".repeat(1025)] {
            assert!(write(text, 0o600).is_err(), "{text}");
        }
        assert!(read(&dir.path().join("none")).is_err());
    }
}
