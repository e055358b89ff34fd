use super::*;
use crate::cli::{Cli, Command};
use clap::Parser as _;
use std::os::unix::fs::PermissionsExt as _;

/// A machine as a folder: `config` beside the gateway's own folders.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new(more: &str) -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(machine.dir.path().join("config")).unwrap();
        machine.write("rules.toml", "version = 1\n");
        machine.write("ports", "LAN=0000:03:00.0\n");
        machine.configure(more);
        machine
    }

    fn configure(&self, more: &str) {
        let at = self.dir.path().display();
        self.write(
            "glassgate.toml",
            &format!(
                "[rules]\npath = 'rules.toml'\n[audit]\ndir = '{at}/audit'\n[charter]\ndir = '{at}/charter'\n[store]\ndir = '{at}/store'\n\
                 [control]\nsocket = '{at}/run/s'\n{more}"
            ),
        );
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("config").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        std::fs::write(self.at(name), text).unwrap();
        std::fs::set_permissions(self.at(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).unwrap()
    }

    fn run(&self, words: &[&str]) -> Result<Exit> {
        let config = self.at("glassgate.toml");
        let all = ["glassgate", "config"].into_iter().chain(words.iter().copied());
        let all = all.chain(["--config", config.to_str().unwrap()]);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Config { verb: Some(verb) } => run(&verb),
            _ => unreachable!(),
        }
    }

    fn backup(&self) -> PathBuf {
        let to = self.dir.path().join("machine.backup");
        assert_eq!(self.run(&["backup", to.to_str().unwrap()]).unwrap(), Exit::Done);
        to
    }

    fn restore(&self, from: &Path, more: &[&str]) -> Result<Exit, String> {
        let words: Vec<&str> =
            ["restore", from.to_str().unwrap()].into_iter().chain(more.iter().copied()).collect();
        self.run(&words).map_err(|why| format!("{why:#}"))
    }

    /// Everything in the folder and beside it.
    fn all(&self) -> Vec<(String, Vec<u8>)> {
        fn walk(dir: &Path, out: &mut Vec<(String, Vec<u8>)>) {
            for entry in std::fs::read_dir(dir).unwrap().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => walk(&entry.path(), out),
                    false => {
                        out.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()))
                    }
                }
            }
        }
        let mut out = Vec::new();
        walk(self.dir.path(), &mut out);
        out.sort();
        out
    }
}

type Edit = fn(&mut serde_json::Value);

fn edited(backup: &Path, edit: impl FnOnce(&mut serde_json::Value)) -> PathBuf {
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(backup).unwrap()).unwrap();
    edit(&mut value);
    let to = backup.with_extension("edited");
    std::fs::write(&to, serde_json::to_vec(&value).unwrap()).unwrap();
    to
}

#[test]
fn what_was_backed_up_comes_back_and_goes_again() {
    let machine = Machine::new("");
    machine.write("signatures/own.tsv", "");
    let backup = machine.backup();
    let before = machine.read("glassgate.toml");
    machine.configure("[guard]\nhang_ms = 200\n");
    machine.write("notes.txt", "nobody names this");
    let there = machine.all();
    assert_eq!(machine.restore(&backup, &["--dry-run"]), Ok(Exit::Done));
    assert_eq!(machine.all(), there, "a dry run changes nothing");
    assert_eq!(machine.restore(&backup, &[]), Ok(Exit::Done));
    assert_eq!(machine.read("glassgate.toml"), before);
    assert_eq!(machine.read("notes.txt"), "nobody names this", "what is not named stays");
    assert!(machine.run(&["undo"]).is_ok());
    assert!(machine.read("glassgate.toml").contains("hang_ms"));
    assert!(machine.run(&["undo"]).is_ok());
    assert_eq!(machine.read("glassgate.toml"), before);
}

#[test]
fn no_secret_gets_into_a_backup_and_none_is_lost() {
    let machine = Machine::new(
        "[identity]\npush_token = 'signatures/token'\n[signatures]\npath = 'signatures'\n[page]\ncertificate = 'p.crt'\nkey = 'p.key'\n",
    );
    machine.write("signatures/token", "canary-1-of-a-long-secret");
    for source in
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/signatures")).unwrap().flatten()
    {
        let name = source.file_name().into_string().unwrap();
        machine.write(&format!("signatures/{name}"), &std::fs::read_to_string(source.path()).unwrap());
    }
    machine.write("signatures/key.pem", "-----BEGIN PRIVATE KEY-----\ncanary-2\n");
    machine.write("p.key", "canary-3");
    machine.write("p.crt", "-----BEGIN CERTIFICATE-----\n");
    machine.write("left.lying", "canary-4");
    let backup = machine.backup();
    let text = std::fs::read_to_string(&backup).unwrap();
    assert!(!text.contains("canary"), "{text}");
    assert!(text.contains("BEGIN CERTIFICATE") && text.contains("signatures/token"), "{text}");
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    machine.configure("");
    std::fs::remove_file(machine.at("signatures/token")).unwrap();
    let why = machine.restore(&backup, &[]).unwrap_err();
    assert!(why.contains("nothing was changed") && why.contains("config/signatures/token"), "{why}");
    assert!(!machine.dir.path().join("config.part").exists());
    // On a new machine secrets come from elsewhere.
    let secrets = machine.dir.path().join("secrets/signatures");
    std::fs::create_dir_all(&secrets).unwrap();
    std::fs::write(secrets.join("token"), "canary-1-of-a-long-secret").unwrap();
    let from = secrets.parent().unwrap().to_str().unwrap().to_owned();
    assert_eq!(machine.restore(&backup, &["--secrets", &from]), Ok(Exit::Done));
    assert_eq!(machine.read("signatures/token"), "canary-1-of-a-long-secret");
    assert_eq!(machine.read("p.key"), "canary-3");
}

#[test]
fn what_is_not_valid_changes_nothing() {
    let machine = Machine::new("");
    let backup = machine.backup();
    let there = machine.all();
    for (name, text) in [("glassgate.toml", "[guard]\nhang = 1\n"), ("rules.toml", "[[rule]]\nname = 1\n")] {
        let bad = edited(&backup, |value| {
            for file in value["files"].as_array_mut().unwrap() {
                if file["name"] == name {
                    let text = file["text"].as_str().unwrap().replace("[rules]", &format!("{text}[rules]"));
                    let text = if name == "rules.toml" { "[[rule]]\nname = 1\n".to_owned() } else { text };
                    file["sha256"] = sha256(text.as_bytes()).into();
                    file["text"] = text.into();
                }
            }
        });
        let why = machine.restore(&bad, &[]).unwrap_err();
        assert!(why.contains("nothing was changed") && !why.contains("config.part"), "{why}");
        std::fs::remove_file(bad).unwrap();
        assert_eq!(machine.all(), there, "{name}");
    }
}

#[test]
fn hostile_backups_are_refused() {
    let machine = Machine::new("");
    let backup = machine.backup();
    let there = machine.all();
    let good = serde_json::json!({"name": "x", "sha256": sha256(b""), "text": ""});
    for name in [
        "",
        "/etc/x",
        "../x",
        "a/../../x",
        "a//b",
        ".trial",
        "a/.b",
        "a\\b",
        "a\nb",
        "a\0",
        &"a/".repeat(9),
        &"a".repeat(201),
        "glassgate.toml/x",
        "ports",
    ] {
        let bad = edited(&backup, |value| {
            let mut entry = good.clone();
            entry["name"] = name.into();
            value["files"].as_array_mut().unwrap().push(entry);
        });
        assert!(machine.restore(&bad, &[]).is_err(), "{name:?}");
        std::fs::remove_file(bad).unwrap();
        assert_eq!(machine.all(), there, "{name:?}");
    }
    let cases: [(&str, Edit); 7] = [
        ("more than", |value| {
            let text = "x".repeat((MAX_BYTES + 1) as usize);
            let entry = serde_json::json!({"name": "x", "sha256": sha256(text.as_bytes()), "text": text});
            value["files"].as_array_mut().unwrap().push(entry);
        }),
        ("files, and", |value| {
            let entry = |n| serde_json::json!({"name": format!("f{n}"), "sha256": sha256(b""), "text": ""});
            value["files"].as_array_mut().unwrap().extend((0..=MAX_FILES).map(entry));
        }),
        ("SHA-256", |value| value["files"][0]["text"] = "".into()),
        ("unknown field", |value| value["files"][0]["link"] = "/etc/shadow".into()),
        ("format 2", |value| value["glassgate_backup"] = 2.into()),
        ("is not in it", |value| value["config"] = "other.toml".into()),
        ("needs one of", |value| value["files"][0]["base64"] = "".into()),
    ];
    for (word, edit) in cases {
        let bad = edited(&backup, edit);
        let why = machine.restore(&bad, &[]).unwrap_err();
        assert!(why.contains(word), "{word}: {why}");
        std::fs::remove_file(bad).unwrap();
    }
    for bytes in [&b""[..], b"[]", b"\xff", &[b'['; 1 << 16]] {
        assert!(format::parse(bytes).is_err());
    }
}

#[test]
fn without_an_account_only_what_is_open_changes() {
    let key = "a".repeat(64);
    let machine = Machine::new("[ports]\nlan = 'pci:0000:03:00.0'\nuplink = 'pci:0000:04:00.0'\n");
    let with = |more: &str, limited: bool| {
        let other = Machine::new("");
        let text = machine.read("glassgate.toml");
        let text = if more.starts_with("lan") {
            text.replace("lan = 'pci:0000:03:00.0'", more)
        } else {
            text + more
        };
        other.write("glassgate.toml", &text);
        let backup = other.backup();
        let arguments: &[&str] = if limited { &["--limited", "--dry-run"] } else { &["--dry-run"] };
        machine.restore(&backup, arguments)
    };
    for open in [
        "",
        "[dataplane]\nflows = 65536\n",
        "[guard]\nhang_ms = 200\n",
        "lan = 'pci:0000:05:00.0'",
        "[page]\nlisten = '0.0.0.0:8443'\n",
    ] {
        assert_eq!(with(open, true), Ok(Exit::Done), "{open}");
    }
    for (guarded, word) in [
        (
            &*format!(
                "[guard]\nrelay = '{}/page/accounts'\nrelay_bypass = '[]'\nrelay_inline = '[]'\n",
                machine.dir.path().display()
            ),
            "guard.relay",
        ),
        ("[identity]\ndirectory = 'people.toml'\n", "identity.directory"),
        ("[page]\nmetrics_open = true\n", "page.metrics_open"),
        ("[reports]\nevery = 'day'\n", "reports.every"),
        ("lan = 'vdev:net_pcap0,tx_pcap=/var/lib/x'", "ports.lan"),
    ] {
        let why = with(guarded, true).unwrap_err();
        assert!(why.contains(word), "{guarded}: {why}");
        assert!(with(guarded, false).is_ok_and(|exit| exit == Exit::Done), "{guarded}");
    }
    let text =
        machine.read("glassgate.toml").replace("[charter]\n", &format!("[charter]\nkeys = ['{key}']\n"));
    let other = Machine::new("");
    other.write("glassgate.toml", &text);
    let why = machine.restore(&other.backup(), &["--limited"]).unwrap_err();
    assert!(why.contains("charter.keys"), "{why}");
}

#[test]
fn a_trial_that_nobody_kept_is_over_with_the_start() {
    let machine = Machine::new("");
    let backup = machine.backup();
    machine.configure("[guard]\nhang_ms = 200\n");
    assert!(machine.run(&["undo", "--if-unkept"]).is_ok());
    assert!(machine.restore(&backup, &["--trial"]).is_ok());
    // The same start of the machine: it goes on.
    assert!(machine.run(&["undo", "--if-unkept"]).is_ok());
    assert!(!machine.read("glassgate.toml").contains("hang_ms"));
    std::fs::write(machine.at(TRIAL), "another start").unwrap();
    assert!(machine.run(&["undo", "--if-unkept"]).is_ok());
    assert!(machine.read("glassgate.toml").contains("hang_ms"));
    assert!(machine.restore(&backup, &["--trial"]).is_ok());
    assert!(machine.run(&["keep"]).is_ok() && !machine.at(TRIAL).exists());
}

#[test]
fn a_folder_that_is_not_its_own_is_not_replaced() {
    let machine = Machine::new("");
    let backup = machine.backup();
    machine.configure("[page]\ndir = 'page'\n");
    assert!(machine.restore(&backup, &[]).unwrap_err().contains("a folder of its own"));
}
