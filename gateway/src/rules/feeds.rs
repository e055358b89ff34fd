//! `glassgate rules feeds` and `accept`: subscribed lists, what a new version would change, and the word of a person.

use crate::ask::{ask, is_not_running};
use crate::cli::lists::{Accept, Feeds};
use crate::config::Config;
use crate::control::socket::{Answer, Question};
use crate::exit::{Ended, Exit};
use crate::feeds::{self, Feed, FeedNow};
use crate::{print, verdicts};
use anyhow::Result;
use glassgate_policy::quarantine::Examined;
use serde::Serialize;
use std::fmt::Write as _;

/// A list, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    now: &'a FeedNow,
    /// What the version that is there would change.
    difference: Option<&'a Examined>,
}

/// Shows the lists that the configuration subscribes to.
pub(super) fn run(args: &Feeds) -> Result<Exit> {
    let config = crate::load(&args.config)?;
    let feeds = look(&config)?;
    if args.json {
        let shown: Vec<Shown<'_>> =
            feeds.iter().map(|feed| Shown { now: &feed.now, difference: feed.examined.as_ref() }).collect();
        return print(&(serde_json::to_string(&shown)? + "\n"));
    }
    if feeds.is_empty() {
        return print("no lists are subscribed to; see `[[subscription]]` in `glassgate config`\n");
    }
    let shown: Vec<String> = feeds.iter().map(describe).collect();
    print(&shown.join("\n"))
}

/// Accepts a list that somebody has seen: through the running gateway, which puts it on record first; where none runs, in its files.
pub(super) fn accept(args: &Accept) -> Result<Exit> {
    let config = crate::load(&args.config)?;
    let refused = |why: String| Ended::new(Exit::Invalid, why).into();
    let asked = Question::AcceptList { list: args.feed.clone(), digest: args.digest.clone() };
    match ask(&config.socket, &asked) {
        Ok(Answer::Accepted(what)) => print(&format!("{what}\n")),
        Ok(Answer::Denied(why)) => Err(refused(why)),
        Ok(_) => anyhow::bail!("the gateway gave another answer than was asked for"),
        Err(why) if is_not_running(&why) => {
            let mut feeds = look(&config)?;
            let now = feeds::accept(&mut feeds, &config.files.feeds_dir, &args.feed, &args.digest)
                .map_err(refused)?;
            print(&format!(
                "{}: {} names accepted; no gateway runs, so this is on no record\n",
                now.name, now.names
            ))
        }
        Err(why) => Err(why),
    }
}

fn look(config: &Config) -> Result<Vec<Feed>> {
    verdicts::feeds(&config.files)
        .map_err(|faults| Ended::new(Exit::Invalid, format!("signatures are wrong\n{faults}")).into())
}

fn describe(feed: &Feed) -> String {
    let now = &feed.now;
    let mut out = format!("{}  {}  {}\n", now.name, now.category, now.state);
    // Writing to a string does not fail.
    if now.accepted.is_empty() {
        out += "  in use    nothing: no version was accepted yet\n";
    } else {
        let by = if now.by == "person" { "by a person" } else { "within limits" };
        _ = writeln!(out, "  in use    {} names, accepted {} {by}", now.names, now.accepted);
    }
    if let Some(trouble) = &now.trouble {
        _ = writeln!(out, "  trouble   {trouble}");
    }
    let Some(examined) = &feed.examined else { return out };
    _ = writeln!(out, "  new       {} names, {} added, {} removed", now.new_names, now.added, now.removed);
    for (word, change) in [("added", &examined.added), ("removed", &examined.removed)] {
        if change.count > 0 {
            let more = if change.count > change.sample.len() { ", …" } else { "" };
            _ = writeln!(out, "  {word:<9} {}{more}", change.sample.join(", "));
        }
    }
    for (i, reason) in now.reasons.iter().enumerate() {
        _ = writeln!(out, "  {:<9} {reason}", if i == 0 { "held" } else { "" });
    }
    if now.state == "held" {
        let digest = now.digest.get(..16).unwrap_or_default();
        _ = writeln!(out, "  to use it: glassgate rules accept {} {digest}", now.name);
    }
    out
}
