use super::*;

/// A folder with a charter made from the sample, and two keys in it.
struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = Self { dir: tempfile::tempdir().unwrap() };
        let mut text = SAMPLE.to_owned();
        for name in ["a.key", "b.key"] {
            key(&Key { file: folder.path(name) }).unwrap();
            let public = read_key(&folder.path(name)).unwrap().public().to_string();
            text = text.replacen("PUBLIC-KEY", &public, 1);
        }
        std::fs::write(folder.path("charter.toml"), text).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sign(&self, with: &str, revoke: bool) -> Result<Exit> {
        sign(&Sign { file: self.path("charter.toml"), key: self.path(with), revoke })
    }

    fn check(&self) -> Exit {
        check(&Check { file: self.path("charter.toml"), json: true }).unwrap()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path("charter.toml")).unwrap()
    }

    fn charter(&self) -> Result<Charter, Diagnostics> {
        let (path, text) = (self.path("charter.toml"), self.text());
        let (file, _) = parse(&path, &text)?;
        verified(&path, &text, &file)
    }
}

#[test]
fn from_a_sample_to_a_signed_charter() {
    let folder = Folder::new();
    assert_eq!(folder.check(), Exit::Done, "good, though not signed");
    folder.sign("a.key", false).unwrap();
    assert_eq!(folder.check(), Exit::Invalid, "half signed");
    folder.sign("b.key", false).unwrap();
    folder.sign("b.key", false).unwrap();
    assert_eq!(folder.check(), Exit::Done);
    let (charter, noon) = (folder.charter().unwrap(), "2027-03-01T02:00:00Z".parse().unwrap());
    let shown = describe(charter.file(), Some(&charter), noon);
    assert!(shown.contains("recruitment at level aggregate: open\n"), "{shown}");
    assert!(shown.contains("holds until 2027-03-01T04:00:00Z"), "{shown}");
    let shown = describe(charter.file(), None, noon);
    assert!(shown.contains("not all approvers have signed") && shown.contains(": not in force\n"), "{shown}");
    // A change after signing shows; a revocation by one is enough.
    folder.sign("a.key", true).unwrap();
    assert!(folder.charter().unwrap().is_revoked());
    std::fs::write(folder.path("charter.toml"), folder.text() + "\n").unwrap();
    assert_eq!(folder.check(), Exit::Invalid);
}

#[test]
fn keys_are_for_their_owner_alone() {
    let folder = Folder::new();
    let path = folder.path("a.key");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    let before = std::fs::read(&path).unwrap();
    key(&Key { file: path.clone() }).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), before, "a key that is there is shown, not replaced");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let why = folder.sign("a.key", false).unwrap_err().to_string();
    assert!(why.contains("mode 640"), "{why}");
    key(&Key { file: folder.path("c.key") }).unwrap();
    let why = folder.sign("c.key", false).unwrap_err().to_string();
    assert!(why.contains("names no approver"), "{why}");
}
