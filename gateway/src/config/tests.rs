use super::*;

fn parse(text: &str) -> Result<Config, Diagnostics> {
    Config::parse(Text::new("glassgate.toml", text), Path::new("/etc/glassgate"))
}

#[test]
fn an_empty_file_is_a_configuration() {
    let config = parse("").unwrap();
    assert_eq!(config.listen, "127.0.0.1:8480".parse().unwrap());
    assert_eq!(config.ports, Ports { lan: None, uplink: None, propagate_link: false });
    assert!(config.both_ports().unwrap_err().contains("[ports]"));
}

#[test]
fn the_file_of_all_defaults_says_what_an_empty_one_does() {
    assert_eq!(parse(&commented_defaults()).unwrap(), parse("").unwrap());
}

#[test]
fn what_is_written_counts() {
    let config = parse(
        "[ports]\nlan = 'af_packet:a'\nuplink = 'af_packet:b'\n[dataplane]\nlcores = [2, 3]\nhuge_pages = false\n\
         [rules]\npath = 'rules.toml'\n[page]\nlisten = '[::1]:80'\n[guard]\nhang_ms = 50\n",
    )
    .unwrap();
    assert_eq!(config.both_ports().unwrap()[1].to_string(), "af_packet:b");
    assert_eq!((&config.dataplane.lcores[..], config.dataplane.huge_pages), (&[2, 3][..], false));
    assert_eq!(config.files.rules.unwrap(), Path::new("/etc/glassgate/rules.toml"));
    assert_eq!(config.guard.hang, Duration::from_millis(50));
}

/// One that is good, and one that says nothing.
const SUBSCRIPTION: &str = "[[subscription]]\nname = 'jobs'\npath = 'jobs.txt'\nformat = 'plain'\ncategory = 'recruitment'\n\
                            licence = 'MIT'\n[[subscription]]\n";

fn subscription(from: &str, to: &str) -> Result<Config, Diagnostics> {
    let text = SUBSCRIPTION.strip_suffix("[[subscription]]\n").unwrap();
    assert!(from.is_empty() || text.contains(from), "{from}");
    parse(&text.replacen(from, to, 1))
}

#[test]
fn subscriptions_are_checked_word_by_word() {
    let one = subscription("", "").unwrap().files.subscriptions.remove(0);
    assert_eq!((one.name.as_str(), one.path), ("jobs", PathBuf::from("/etc/glassgate/jobs.txt")));
    assert!(!one.trust_first && one.title == "jobs" && one.source == "jobs.txt");
    for (from, to, code, line) in [
        ("name = 'jobs'", "name = 'Jobs!'", "name", 2),
        ("format = 'plain'", "format = 'plan'", "unknown-word", 4),
        ("category = 'recruitment'", "category = 'jobs'", "unknown-word", 5),
        ("licence = 'MIT'", "licence = ' '", "missing", 6),
        ("licence = 'MIT'", "licence = 'MIT'\nfirst = 'take'", "unknown-word", 7),
        ("licence = 'MIT'", "licence = 'MIT'\nscope = 'all'", "unknown-word", 7),
    ] {
        let faults = subscription(from, to).unwrap_err();
        assert_eq!((faults.as_slice()[0].code, faults.as_slice()[0].line), (code, line), "{to}");
    }
    let good = SUBSCRIPTION.strip_suffix("[[subscription]]\n").unwrap();
    assert_eq!(parse(&good.repeat(2)).unwrap_err().as_slice()[0].code, "name-twice");
}

#[test]
fn a_pack_stands_alone() {
    let key = format!("trusted_keys = ['ed25519:{}']\npack = 'p'\n", "ab".repeat(32));
    let pack = parse(&format!("[signatures]\n{key}pack_floor = 7")).unwrap().files.pack.unwrap();
    assert_eq!((pack.path, pack.floor), (PathBuf::from("/etc/glassgate/p"), 7));
    let subscription = SUBSCRIPTION.strip_suffix("[[subscription]]\n").unwrap();
    for beside in ["path = 'x'", "exclude = ['a.b']", subscription] {
        let faults = parse(&format!("[signatures]\n{key}{beside}")).unwrap_err();
        assert_eq!((faults.as_slice()[0].code, faults.as_slice()[0].line), ("beside-pack", 4), "{beside}");
    }
}

/// Every way to be wrong: the text, the place, a word of the message.
#[test]
fn every_fault_has_its_place() {
    let table: &[(&str, (u32, u32), &str)] = &[
        ("[page]\nlisen = 'x'", (2, 1), "unknown field"),
        ("[pagee]\n", (1, 2), "unknown field"),
        ("x = 1", (1, 1), "unknown field"),
        ("[page]\nlisten = 8480", (2, 10), "invalid type"),
        ("[page]\nlisten = '8480'", (2, 10), "address with a port"),
        ("[page]\nlisten = '127.0.0.1'", (2, 10), "address with a port"),
        ("[page]\nlisten = 'a", (2, 12), ""),
        ("[page]\nlisten = '1.1.1.1:1'\nlisten = '1.1.1.1:2'", (3, 1), "duplicate"),
        ("[ports]\nlan = 'eth1'", (2, 7), "names no port"),
        ("[ports]\nlan = 'pci:03:00'", (2, 7), "not a PCI address"),
        ("[ports]\nlan = 'af_xdp:a,b'", (2, 7), "network interface"),
        ("[ports]\nlan = 'tap:a'\nuplink = 'tap:a'", (3, 10), "same device"),
        ("[ports]\nlan = 'tap:a'\nuplink = 'socket:a'", (3, 10), "socket"),
        ("[signatures]\nexclude = ['com']", (2, 11), "top-level domain"),
        ("[signatures]\nexclude = ['a.b', 'a b']", (2, 11), "`a b` is no host name"),
        ("[signatures]\ntrusted_keys = ['ed25519:00']", (2, 16), "no public key"),
        ("[signatures]\npack = 'x'", (2, 8), "needs a trusted key"),
        ("[[subscription]]\nname = 'a'", (1, 1), "needs `path`"),
        (SUBSCRIPTION, (7, 1), "needs `name`"),
        ("[[subscription]]\nnam = 'a'", (2, 1), "unknown field"),
        ("[dataplane]\nlcores = []", (2, 10), "0 lcores"),
        ("[dataplane]\nlcores = [1, 2, 1]", (2, 10), "CPU 1 is named twice"),
        (
            "[ports]\nlan = 'pci:0000:01:00.0'\nuplink = 'pci:0000:02:00.0'\npropagate_link = true",
            (4, 18),
            "no kernel interface",
        ),
        ("[dataplane]\nlcores = [1024]", (2, 10), "out of range"),
        ("[dataplane]\nlcores = [-1]", (2, 11), "invalid value"),
        ("[dataplane]\nflows = 10", (2, 9), "1024 to 16777216"),
        ("[dataplane]\ninspections = 1", (2, 15), "out of range"),
        ("[dataplane]\nevent_ring = 1000", (2, 14), "power of two"),
        ("[dataplane]\nevent_ring = 32", (2, 14), "out of range"),
        ("[dataplane]\nmemory_mib = 1", (2, 14), "MiB"),
        ("[dataplane]\nidle_sleep_us = 5000", (2, 17), "microseconds"),
        ("[dataplane]\nhuge_pages = 'yes'", (2, 14), "invalid type"),
        ("[signatures]\npath = \"a\\u0000b\"", (2, 8), "needs a path"),
        ("[rules]\nvalid_for_s = 4", (2, 15), "5 to 3600"),
        ("[audit]\ndir = ''", (2, 7), "needs a path"),
        ("[audit]\norigin = 'a b'", (2, 10), "neither spaces nor plus signs"),
        ("[audit]\nwitness = 'http://127.0.0.1:7380'", (1, 1), "not its key"),
        ("[audit]\nwitness = 'http://witness:1'\nwitness_key = 'w'", (2, 11), "no address of a witness"),
        ("[audit]\nwitness = 'http://127.0.0.1:1'\nwitness_key = 'w'", (3, 15), "name+id+base64"),
        ("[control]\nsocket = ''", (2, 10), "needs a path"),
        ("[radius]\nlisten = '127.0.0.1'", (2, 10), "address with a port"),
        ("[radius]\nlisten = '127.0.0.1:1813'", (2, 10), "nobody may send"),
        ("[radius]\nsession_s = 59", (2, 13), "60 to 86400"),
        ("[[radius_client]]\nnetwork = '10.0.0.5'\nsecret = 's'", (1, 1), "nobody listens"),
        ("[[radius_client]]\nsecret = 's'", (1, 1), "needs `network`"),
        ("[[radius_client]]\nnetwork = '10.0.0.5'", (1, 1), "needs `secret`"),
        ("[[radius_client]]\nnetwork = '10.0.0'\nsecret = 's'", (2, 11), "no address"),
        ("[[radius_client]]\nnetwork = '10.0.0.5/24'\nsecret = 's'", (2, 11), "10.0.0.0/24"),
        ("[guard]\nhang_ms = 1", (2, 11), "20 to 60000"),
        ("[guard]\nrestart_ms = 2000", (2, 14), "0 to 1000"),
        ("[guard]\nstop_s = 0", (2, 10), "1 to 60"),
        ("[guard", (1, 7), ""),
    ];
    for (text, place, word) in table {
        let faults = parse(text).expect_err(text);
        let fault = &faults.as_slice()[0];
        assert_eq!((fault.line, fault.column), *place, "{text}\n{fault}");
        assert!(fault.message.contains(word), "{text}\n{fault}");
    }
    let long = format!("[control]\nsocket = '/{}'", "x".repeat(107));
    assert!(parse(&long).unwrap_err().to_string().contains("too long for a socket"));
}

#[test]
fn one_run_shows_all_faults() {
    let faults = parse("[dataplane]\nflows = 1\nmemory_mib = 1\n[page]\nlisten = 'x'\n[guard]\nstop_s = 0\n")
        .unwrap_err();
    let lines: Vec<u32> = faults.as_slice().iter().map(|f| f.line).collect();
    assert_eq!(lines, [2, 3, 5, 7]);
    insta_like(&faults.as_slice()[2].to_string());
}

fn insta_like(shown: &str) {
    let expected = "error[address]: `x` is no address with a port\n  --> glassgate.toml:5:10\n  |\n5 | listen = 'x'\n  |          ^^^\n  = help: write it as `127.0.0.1:8480` or `[::1]:8480`";
    assert_eq!(shown, expected);
}

#[test]
fn files_that_are_none_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Config::load(&dir.path().join("none.toml")).unwrap_err();
    assert!(
        missing.to_string().contains("none.toml") && missing.to_string().contains("--config"),
        "{missing}"
    );
    let path = dir.path().join("bytes.toml");
    std::fs::write(&path, b"[page]\n\xff = 1").unwrap();
    let bytes = Config::load(&path).unwrap_err();
    assert_eq!((bytes.as_slice()[0].line, bytes.as_slice()[0].column), (2, 1), "{bytes}");
    std::fs::write(&path, vec![b'#'; MAX_BYTES as usize + 1]).unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("larger than"));
    assert!(Config::load(dir.path()).is_err(), "a folder");
}

#[test]
fn every_setting_is_documented() {
    for section in schema::sections() {
        assert!(!section.doc.is_empty(), "[{}]", section.name);
        for field in section.fields {
            assert!(!field.doc.is_empty() && !field.default.is_empty(), "{}.{}", section.name, field.name);
        }
    }
}

#[test]
fn docs_config_is_what_the_code_says() {
    super::super::docs_test::holds("config.md", &docs::reference());
}

#[test]
fn clients_of_the_radius_listener_in_order() {
    let client = |network: &str| format!("[[radius_client]]\nnetwork = '{network}'\nsecret = 's'\n");
    let read = |networks: &[&str]| {
        let clients: String = networks.iter().map(|network| client(network)).collect();
        parse(&format!("[radius]\nlisten = '[::1]:1813'\n{clients}"))
    };
    let radius = read(&["10.0.0.5", "10.0.0.0/24", "2001:db8::/64"]).unwrap().radius.unwrap();
    assert_eq!((radius.clients.len(), radius.silence), (3, Duration::from_secs(1800)));
    assert_eq!(radius.clients[0].secret, Path::new("/etc/glassgate/s"));
    let faults = read(&["10.0.0.0/24", "10.0.0.5"]).unwrap_err();
    assert_eq!((faults.as_slice()[0].code, faults.as_slice()[0].line), ("never-used", 7), "{faults}");
    let networks: Vec<String> = (0..257).map(|i| format!("10.0.{}.{}", i / 256, i % 256)).collect();
    let faults = read(&networks.iter().map(String::as_str).collect::<Vec<_>>()).unwrap_err();
    assert_eq!(faults.as_slice()[0].code, "too-many");
}
