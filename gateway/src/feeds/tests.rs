use super::*;
use glassgate_policy::builtin;

struct World {
    dir: tempfile::TempDir,
    subscription: Subscription,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let subscription = Subscription {
            name: "jobs".to_owned(),
            title: "Jobs".to_owned(),
            path: dir.path().join("list.txt"),
            format: Format::Plain as u8,
            scope: Scope::Suffix as u8,
            category: Category::Recruitment as u8,
            source: "example".to_owned(),
            licence: "CC0-1.0".to_owned(),
            trust_first: false,
            block: true,
        };
        Self { dir, subscription }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn write(&self, names: std::ops::Range<usize>) {
        let text: String = names.map(|n| format!("s{n}.example\n")).collect();
        std::fs::write(&self.subscription.path, text).unwrap();
    }

    fn look(&self, may_write: bool) -> Feed {
        let all = std::slice::from_ref(&self.subscription);
        look(all, &self.state(), may_write, builtin::table).unwrap().remove(0)
    }

    fn accept(&self, digest: &str) -> Result<FeedNow, String> {
        accept(&mut [self.look(false)], &self.state(), "jobs", digest)
    }

    fn in_use(&self) -> usize {
        self.look(false).source(true).map_or(0, |source| source.unwrap().entries().len())
    }
}

#[test]
fn a_list_is_used_once_somebody_has_seen_it_and_follows_small_changes() {
    let world = World::new();
    world.write(0..428);
    let feed = world.look(true);
    assert_eq!((feed.now.state.as_str(), feed.now.names, feed.now.new_names), ("held", 0, 428));
    assert_eq!(world.in_use(), 0);

    assert!(world.accept("").is_err() && world.accept("0123456789ab").is_err());
    let digest = world.look(false).now.digest;
    assert_eq!(world.accept(&digest[..12]).unwrap().by, "person");
    assert_eq!((world.in_use(), world.look(true).now.state.as_str()), (428, "good"));

    // A few more are taken as they come.
    world.write(0..450);
    assert_eq!(world.look(false).now.state, "good");
    assert_eq!(world.in_use(), 428, "a look changes nothing");
    let feed = world.look(true);
    assert_eq!((feed.now.state.as_str(), feed.now.names, feed.now.by.as_str()), ("good", 450, "limits"));

    // Very many are not, and what was in use stays.
    world.write(0..60_000);
    let feed = world.look(true);
    assert_eq!((feed.now.state.as_str(), feed.now.names, feed.now.added), ("held", 450, 59_550));
    assert_eq!(feed.now.reasons, ["59550 names added to 450"]);
    assert_eq!(world.in_use(), 450);

    // What was shown is no longer what is there.
    let shown = feed.now.digest;
    world.write(0..60_001);
    assert!(world.accept(&shown).unwrap_err().contains("not the one that was shown"));
    assert_eq!(world.in_use(), 450);
}

#[test]
fn a_list_that_is_gone_stays_in_use() {
    let world = World::new();
    assert_eq!(world.look(true).now.state, "unreadable");
    world.write(0..100);
    world.accept(&world.look(false).now.digest).unwrap();
    std::fs::remove_file(&world.subscription.path).unwrap();
    let feed = world.look(true);
    assert_eq!((feed.now.state.as_str(), feed.now.names), ("unreadable", 100));
    assert!(feed.now.trouble.is_some());
    assert_eq!(world.in_use(), 100);
}

#[test]
fn a_damaged_state_is_no_reason_to_trust() {
    let world = World::new();
    world.write(0..100);
    world.accept(&world.look(false).now.digest).unwrap();
    let path = world.state().join("jobs.list");
    let good = std::fs::read_to_string(&path).unwrap();
    for bad in [
        "",
        "x",
        &good.replace("s1.example", "s1.exampla"),
        &good[..good.len() - 9],
        &good.replace("s5", "\u{1}"),
    ] {
        std::fs::write(&path, bad).unwrap();
        let feed = world.look(true);
        assert_eq!((feed.now.state.as_str(), feed.now.names), ("held", 0), "{}", &bad[..bad.len().min(40)]);
    }
    // Accepted for one purpose is not accepted for another.
    std::fs::write(&path, good).unwrap();
    let other = Subscription { category: Category::Games as u8, ..world.subscription.clone() };
    let feed = look(&[other], &world.state(), true, builtin::table).unwrap().remove(0);
    assert_eq!((feed.now.state.as_str(), feed.now.names), ("held", 0));
}

#[test]
fn a_state_that_cannot_be_written_leaves_what_was() {
    let world = World::new();
    world.write(0..100);
    world.accept(&world.look(false).now.digest).unwrap();
    world.write(0..105);
    // A folder stands where the new file would go.
    let blocked = world.state().join(format!("jobs.list.{}.new", std::process::id()));
    std::fs::create_dir(&blocked).unwrap();
    let feed = world.look(true);
    assert_eq!((feed.now.state.as_str(), feed.now.names), ("held", 100));
    assert!(feed.now.trouble.unwrap().contains("keeping it"));
}
