//! Confinement can't be taken back, so each test confines a process of its own: this test program, started again with
//! the name of the part to play.

use super::*;
use std::process::Command;

const PART: &str = "GLASSGATE_CONFINE_PART";

/// Starts the part `name` and says what it printed.
fn play(name: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "confine::tests::part", "--nocapture"])
        .env(PART, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Not a test of its own: the confined process.
#[test]
fn part() {
    let refused = |what: &str, result: std::io::Result<()>| {
        println!("{what}: {}", if result.is_ok() { "possible" } else { "refused" });
    };
    let tcp = |port| std::net::TcpListener::bind(("127.0.0.1", port)).map(drop);
    match std::env::var(PART).as_deref() {
        Ok("data plane") => {
            rustix::thread::set_no_new_privs(true).unwrap();
            let before = std::fs::File::open("/proc/self/status").unwrap();
            let (go, gone) = std::sync::mpsc::channel::<()>();
            // A thread that is there before: the list holds for it too.
            let other = std::thread::spawn(move || {
                gone.recv().is_ok() && std::fs::File::open("/proc/self/stat").is_ok()
            });
            println!("{}", data_plane().unwrap());
            go.send(()).unwrap();
            println!(
                "open on an older thread: {}",
                if other.join().unwrap() { "possible" } else { "refused" }
            );
            refused("open", std::fs::File::open("/etc/hostname").map(drop));
            refused("write", std::fs::write("/tmp/glassgate-confined", b"x"));
            refused("socket", tcp(0));
            refused("process", Command::new("/bin/true").status().map(drop));
            refused("thread", std::thread::Builder::new().spawn(|| ()).map(drop));
            refused("memory", {
                drop(vec![1u8; 64 << 20]);
                Ok(())
            });
            refused("open file", std::io::Read::read(&mut &before, &mut [0; 16]).map(drop));
            refused("clock", {
                crate::clock::mono_ns();
                Ok(())
            });
        }
        Ok("guard") => {
            guard().unwrap();
            refused("another root", rustix::process::chroot("/").map_err(Into::into));
            let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
            println!("core files: {:?} {:?}", limit.current, limit.maximum);
            println!("core dumps: {:?}", rustix::process::dumpable_behavior().unwrap());
            // What it starts has the same, but for being dumpable, which that process gives up itself.
            let script = "ulimit -c; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; chroot / true && echo child: possible || echo child: refused; unshare -m true && echo namespace: possible || echo namespace: refused";
            let child = Command::new("/bin/sh").args(["-c", script]).output();
            println!("{}", String::from_utf8_lossy(&child.unwrap().stdout));
            refused("open", std::fs::File::open("/etc/hostname").map(drop));
            refused("socket", tcp(0));
        }
        Ok("control's calls") => {
            println!("{}", control_listens().unwrap());
            let dir = tempfile::tempdir().unwrap();
            let (path, other) = (dir.path().join("a"), dir.path().join("b"));
            refused("files", {
                std::fs::write(&path, b"x").unwrap();
                std::fs::File::open(&path).unwrap().sync_all().unwrap();
                std::fs::rename(&path, &other)
            });
            refused(
                "thread",
                std::thread::Builder::new().spawn(|| ()).unwrap().join().map_err(|_| unreachable!()),
            );
            // Landlock is not there to refuse it.
            refused("process", Command::new("/bin/true").status().map(drop));
            let socket = |family| {
                rustix::net::socket(family, rustix::net::SocketType::DGRAM, None)
                    .map(drop)
                    .map_err(Into::into)
            };
            refused("internet", socket(rustix::net::AddressFamily::INET));
            refused("netlink", socket(rustix::net::AddressFamily::NETLINK));
            let limits = rustix::process::getrlimit(Resource::Nofile);
            refused("limit", setrlimit(Resource::Nofile, limits).map_err(Into::into));
        }
        Ok("control") => {
            let dir = tempfile::tempdir().unwrap();
            let text = format!(
                "[audit]\ndir = '{0}/audit'\n[control]\nsocket = '{0}/run/s'\n[rules]\npath = '{0}/rules/r.toml'\n[charter]\ndir = '{0}/charter'\n[store]\ndir = '{0}/store'\n",
                dir.path().display()
            );
            std::fs::create_dir(dir.path().join("rules")).unwrap();
            std::fs::write(dir.path().join("rules/r.toml"), "").unwrap();
            let text = glassgate_policy::diagnostic::Text::new("test", &text);
            let mut config = Config::parse(text, dir.path()).unwrap();
            config.listen.set_port(18_481);
            let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
            let [witness, other] = listeners.each_ref().map(|l| l.local_addr().unwrap());
            let (url, key) = (String::new(), String::new());
            config.audit.witness = Some(crate::config::Witness { address: witness, url, key });
            println!("{}", control(&config).unwrap());
            refused("witness", std::net::TcpStream::connect(witness).map(drop));
            refused("other server", std::net::TcpStream::connect(other).map(drop));
            let aside = dir.path().join("audit/damaged-0001");
            std::fs::create_dir_all(dir.path().join("audit/tile")).unwrap();
            std::fs::create_dir(&aside).unwrap();
            refused("set aside", std::fs::rename(dir.path().join("audit/tile"), aside.join("tile")));
            // Twice: the second time it has a write-ahead log to read.
            let path = Some(config.store.dir.join("store.db"));
            let open = || {
                let options = glassgate_store::Options { path: path.clone(), quota_bytes: 1 << 20 };
                glassgate_store::Store::open(options).map_err(std::io::Error::other)
            };
            refused("store", open().map(std::mem::forget));
            std::fs::copy(config.store.dir.join("store.db"), config.store.dir.join("other.db")).unwrap();
            refused("store again", {
                let options = glassgate_store::Options {
                    path: Some(config.store.dir.join("other.db")),
                    quota_bytes: 1 << 20,
                };
                glassgate_store::Store::open(options).map(drop).map_err(std::io::Error::other)
            });
            refused("own file", std::fs::write(dir.path().join("audit/log"), b"x"));
            refused("rules", std::fs::read(dir.path().join("rules/r.toml")).map(drop));
            refused("write rules", std::fs::write(dir.path().join("rules/r.toml"), b"x"));
            refused("other file", std::fs::write(dir.path().join("other"), b"x"));
            refused("read elsewhere", std::fs::read("/etc/hostname").map(drop));
            refused("own port", tcp(18_481));
            refused("other port", tcp(18_482));
        }
        _ => {}
    }
}

#[test]
fn the_guard_and_what_it_starts_can_t_get_out() {
    let said = play("guard");
    for line in [
        "another root: refused",
        "namespace: refused",
        "core files: Some(0) Some(0)",
        "core dumps: NotDumpable",
        "child: refused",
        "open: possible",
        "socket: possible",
    ] {
        assert!(said.lines().any(|l| l == line), "{line}\n{said}");
    }
    let words: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    for words_of_child in [vec!["0"], vec!["NoNewPrivs:", "1"], vec!["Seccomp:", "2"]] {
        assert!(words.contains(&words_of_child), "{words_of_child:?}\n{said}");
    }
}

#[test]
fn what_is_refused_to_all_is_nothing_that_one_of_them_needs() {
    for call in syscalls::NEVER {
        assert!(!syscalls::DATA_PLANE.contains(call) && !syscalls::CONTROL.contains(call), "{call}");
    }
}

#[test]
fn control_starts_threads_and_no_processes() {
    let said = play("control's calls");
    for line in [
        "files: possible",
        "thread: possible",
        "process: refused",
        "internet: possible",
        "netlink: refused",
        "limit: refused",
    ] {
        assert!(said.lines().any(|l| l == line), "{line}\n{said}");
    }
}

#[test]
fn the_data_plane_can_open_nothing() {
    let said = play("data plane");
    for (what, answer) in [
        ("open", "refused"),
        ("open on an older thread", "refused"),
        ("write", "refused"),
        ("socket", "refused"),
        ("process", "refused"),
        ("thread", "refused"),
        ("memory", "possible"),
        ("open file", "possible"),
        ("clock", "possible"),
    ] {
        assert!(said.lines().any(|l| l == format!("{what}: {answer}")), "{what} should be {answer}\n{said}");
    }
    assert!(!Path::new("/tmp/glassgate-confined").exists());
}

#[test]
fn control_has_its_own_files_and_port_only() {
    let said = play("control");
    if said.contains("no landlock") {
        eprintln!("this kernel has no landlock: nothing to test");
        return;
    }
    let mut expected = vec![
        ("own file", "possible"),
        ("store", "possible"),
        ("store again", "possible"),
        ("rules", "possible"),
        ("write rules", "refused"),
        ("other file", "refused"),
        ("read elsewhere", "refused"),
        ("own port", "possible"),
        ("witness", "possible"),
        ("set aside", "possible"),
    ];
    if !said.contains("as far as") {
        expected.push(("other server", "refused"));
        expected.push(("other port", "refused"));
    }
    for (what, answer) in expected {
        assert!(said.lines().any(|l| l == format!("{what}: {answer}")), "{what} should be {answer}\n{said}");
    }
}
