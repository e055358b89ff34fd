//! `glassgate rules explain`: why a name or a flow is treated as it is.

use crate::cli::rules::Explain;
use crate::clock;
use crate::config::PolicyFiles;
use crate::exit::{Ended, Exit};
use crate::sources;
use crate::verdicts::{self, Compiled};
use anyhow::Result;
use glassgate_policy::compile;
use glassgate_policy::diagnostic::Diagnostics;
use glassgate_policy::explain::{self, Basis, Explanation, Flow, Listed, RuleSays};
use glassgate_policy::rules::Moment;
use glassgate_policy::source::Source;
use glassgate_policy::{Endpoint, Evidence, FiveTuple, GroupId, L4};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// The widest list of rules or entries that is shown as text; JSON has all.
const ROWS: usize = 20;

/// Explains what the arguments name.
pub(super) fn run(args: &Explain) -> Result<Exit> {
    let (tuple, name) = asked(args)?;
    let name = name.map(|name| explain::read_name(&name)).transpose().map_err(usage)?;
    let evidence = evidence(args, tuple.as_ref(), name.is_some())?;
    let invalid = |faults| Ended::new(Exit::Invalid, format!("rules or signatures are wrong\n{faults}"));
    let files = super::files_or_defaults(&args.files).map_err(invalid)?;
    let today = Some(clock::shown_day());
    let compiled = verdicts::compile_files(&files, today, false).map_err(invalid)?;
    let sources = all_sources(&files).map_err(invalid)?;
    let group = args.group.as_deref().map_or(Ok(GroupId(0)), |group| group_named(&compiled, group))?;
    let calendars = args.open.iter().map(|calendar| (calendar.clone(), true)).collect();
    let moment = Moment { today, calendars };
    let basis = Basis {
        sources: &sources,
        tiers: &compile::Options::default().tiers,
        table: &compiled.table,
        file: &compiled.file,
        rules: &compiled.rules,
        moment: &moment,
    };
    let explained = explain::explain(&basis, &Flow { name: name.as_ref(), evidence, group });
    crate::print(&if args.json {
        serde_json::to_string(&explained)? + "\n"
    } else {
        let files = super::names(&files).join(", ");
        format!("{}{:<12}{files}\n", describe(tuple.as_ref(), &explained), "files")
    })?;
    Ok(Exit::Done)
}

/// The sources of the table, subscribed lists among them; none where it came as a pack.
fn all_sources(files: &PolicyFiles) -> Result<Vec<Source>, Diagnostics> {
    if files.pack.is_some() {
        return Ok(Vec::new());
    }
    let (mut all, _) = sources::read(files.signatures.as_deref())?;
    for feed in verdicts::feeds(files)? {
        if let Some(source) = feed.source(false) {
            all.push(source?);
        }
    }
    Ok(all)
}

fn usage(why: String) -> Ended {
    Ended::new(Exit::Usage, why)
}

/// The 5-tuple and the name that are asked about.
fn asked(args: &Explain) -> Result<(Option<FiveTuple>, Option<String>), Ended> {
    let words: Vec<&str> = args.what.iter().flat_map(|word| word.split_whitespace()).collect();
    match words.as_slice() {
        [name] if args.name.is_none() && name.parse::<std::net::IpAddr>().is_err() => Ok((None, Some((*name).to_owned()))),
        [l4, client, server] => Ok((Some(tuple(l4, client, server)?), args.name.clone())),
        [_] if args.name.is_some() => Err(usage("--name goes with a 5-tuple; a name by itself needs no option".to_owned())),
        [_] => Err(usage(
            "an address by itself names nobody: ask for a flow, such as `tcp 10.0.0.1:40000 1.2.3.4:443`".to_owned(),
        )),
        _ => Err(usage(
            "ask for a name, such as `www.zhipin.com`, or for a flow, such as `tcp 10.0.0.1:40000 1.2.3.4:443`".to_owned(),
        )),
    }
}

fn tuple(l4: &str, client: &str, server: &str) -> Result<FiveTuple, Ended> {
    let end = |text: &str| {
        let at: Result<SocketAddr, _> = text.parse();
        at.map(|at| Endpoint { ip: at.ip(), port: at.port() }).map_err(|_| {
            usage(format!("`{text}` is no address with a port: write `10.0.0.1:443` or `[2001:db8::1]:443`"))
        })
    };
    let l4 = L4::from_word(&l4.to_lowercase())
        .ok_or_else(|| usage(format!("`{l4}` makes no flows: write `tcp` or `udp`")))?;
    Ok(FiveTuple { l4, client: end(client)?, server: end(server)? })
}

/// How the name is known, if nobody says: as it is for most flows of this kind.
fn evidence(args: &Explain, tuple: Option<&FiveTuple>, named: bool) -> Result<Evidence, Ended> {
    if let Some(word) = &args.evidence {
        return Evidence::from_word(word).filter(|e| named != (*e == Evidence::None)).ok_or_else(|| {
            usage(format!("`{word}` is no evidence of this: write sni, quic_sni, http_host, dns or dns_hint"))
        });
    }
    Ok(match tuple {
        _ if !named => Evidence::None,
        Some(FiveTuple { server: Endpoint { port: 53, .. }, .. }) => Evidence::Dns,
        Some(FiveTuple { server: Endpoint { port: 80, .. }, l4: L4::Tcp, .. }) => Evidence::HttpHost,
        Some(FiveTuple { l4: L4::Udp, .. }) => Evidence::QuicSni,
        _ => Evidence::Sni,
    })
}

fn group_named(compiled: &Compiled, group: &str) -> Result<GroupId, Ended> {
    compiled.declared.groups.get(group).copied().ok_or_else(|| {
        let known: Vec<&str> = compiled.declared.groups.keys().map(String::as_str).collect();
        let known =
            if known.is_empty() { "there are none without a charter".to_owned() } else { known.join(", ") };
        usage(format!("nothing says who is in group `{group}`; known groups: {known}"))
    })
}

/// The answer as text: the name with what matched underlined, then one paragraph a question.
fn describe(tuple: Option<&FiveTuple>, said: &Explanation) -> String {
    let mut out = String::new();
    if let Some(tuple) = tuple {
        _ = writeln!(out, "{tuple}");
    }
    match (&said.name, &said.entry) {
        (Some(name), Some(entry)) => {
            _ = writeln!(out, "{name}");
            _ = writeln!(
                out,
                "{}{}  {} of {}",
                " ".repeat(entry.matched_from),
                "~".repeat(entry.matched),
                entry.scope,
                place(entry)
            );
        }
        (Some(name), None) => _ = writeln!(out, "{name}\n  in no list"),
        (None, _) => _ = writeln!(out, "  no name: give it with --name if you know it"),
    }
    if let Some(entry) = &said.entry {
        paragraph(&mut out, "service", &service(said, entry));
        paragraph(&mut out, "entry", &provenance(entry));
    }
    let over: Vec<String> = said
        .passed_over
        .iter()
        .map(|p| {
            format!("{} {} ({}), {}: {}", p.entry.name, p.entry.scope, p.entry.tier, place(&p.entry), p.why)
        })
        .collect();
    if !over.is_empty() {
        paragraph(&mut out, "passed over", &shortened(over));
    }
    paragraph(&mut out, "rules", &rules(said));
    let by = said.decided_by.as_ref().map(|rule| format!("rule {rule}: {}", said.action));
    let by = by.unwrap_or_else(|| "no rule decides".to_owned());
    let frames = match said.action.split(' ').next() {
        Some("block") => "are dropped",
        Some("limit") => "pass at the rate of the limit, what is over it is dropped",
        _ => "pass",
    };
    paragraph(&mut out, "frames", &[format!("{frames} ({by})")]);
    let mut recording = vec![match said.level {
        "none" => "nothing; the flow counts as not looked at".to_owned(),
        "aggregate" => "counts by group, service and hour; nothing about a device".to_owned(),
        _ => "counts, and a sealed record of the session".to_owned(),
    }];
    recording.extend(said.gates.iter().map(|g| format!("{:<9} lets {:<9} {}", g.gate, g.lets, g.why)));
    paragraph(&mut out, "recording", &recording);
    out
}

fn service(said: &Explanation, entry: &Listed) -> Vec<String> {
    match &said.service {
        Some(service) => vec![format!("{} ({}), category {}", service.title, service.key, said.category)],
        None => {
            vec![format!("none: {} ({}) does not count with this evidence", entry.service, entry.category)]
        }
    }
}

fn provenance(entry: &Listed) -> Vec<String> {
    let until = entry.expires.as_ref().map(|last| format!(", until {last}")).unwrap_or_default();
    let mut lines = vec![
        format!("{} {}, role {}, tier {}", entry.name, entry.scope, entry.role, entry.tier),
        format!("source {}, licence {}, added {}{until}", entry.source, entry.licence, entry.added),
    ];
    if !entry.note.is_empty() {
        lines.push(format!("note: {}", entry.note));
    }
    lines
}

fn rules(said: &Explanation) -> Vec<String> {
    if said.rules_asked == 0 {
        return vec!["there are none: every flow passes".to_owned()];
    }
    if said.rules.is_empty() {
        return vec![format!("none of {} matches: the flow passes", said.rules_asked)];
    }
    let mut lines = vec![format!("{} of {} match, in this order:", said.rules.len(), said.rules_asked)];
    let width = said.rules.iter().map(|r| r.rule.len()).max().unwrap_or(0);
    let place = |r: &RuleSays| format!("{}:{}", r.file, r.line);
    let places = said.rules.iter().map(|r| place(r).len()).max().unwrap_or(0);
    let rows = said.rules.iter().map(|r| {
        let mark = if r.outcome == "decides" { '>' } else { ' ' };
        format!("{mark} {:<width$}  {:<places$}  {}, {}: {}", r.rule, place(r), r.action, r.state, r.says)
    });
    lines.extend(shortened(rows.collect()));
    lines
}

fn place(entry: &Listed) -> String {
    match entry.line {
        0 => entry.file.clone(),
        line => format!("{}:{line}", entry.file),
    }
}

fn shortened(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(ROWS);
    if more > 0 {
        lines.truncate(ROWS);
        lines.push(format!("and {more} more; --json has all"));
    }
    lines
}

fn paragraph(out: &mut String, title: &str, lines: &[String]) {
    for (i, line) in lines.iter().enumerate() {
        let title = if i == 0 { title } else { "" };
        _ = writeln!(out, "{title:<12}{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::cli::rules::Rules;
    use clap::Parser as _;

    fn parse(words: &str) -> Explain {
        let words = ["glassgate", "rules", "explain"].into_iter().chain(words.split(' '));
        match Cli::try_parse_from(words).unwrap().command {
            crate::cli::Command::Rules(Rules::Explain(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_and_tuples_are_told_apart() {
        let asked =
            |words: &str| asked(&parse(words)).map(|(tuple, name)| (tuple.map(|t| t.to_string()), name));
        assert_eq!(asked("www.zhipin.com").unwrap(), (None, Some("www.zhipin.com".to_owned())));
        let tuple = "tcp 10.0.0.1:40000 > 1.2.3.4:443".to_owned();
        assert_eq!(asked("tcp 10.0.0.1:40000 1.2.3.4:443").unwrap(), (Some(tuple.clone()), None));
        let with_name = asked("TCP 10.0.0.1:40000 1.2.3.4:443 --name a.b").unwrap();
        assert_eq!(with_name, (Some(tuple), Some("a.b".to_owned())));
        assert!(asked("udp [2001:db8::1]:1 [2001:db8::2]:443").is_ok());
        for bad in [
            "10.0.0.1",
            "a.b --name c.d",
            "tcp 10.0.0.1:1",
            "icmp 10.0.0.1:1 10.0.0.2:2",
            "tcp 10.0.0.1 10.0.0.2",
        ] {
            assert_eq!(asked(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn evidence_is_what_the_transport_suggests() {
        let of = |words: &str| {
            let args = parse(words);
            let (tuple, name) = asked(&args).unwrap();
            evidence(&args, tuple.as_ref(), name.is_some()).map_err(|e| e.exit)
        };
        assert_eq!(of("a.b"), Ok(Evidence::Sni));
        assert_eq!(of("a.b --evidence dns_hint"), Ok(Evidence::DnsHint));
        assert_eq!(of("udp 10.0.0.1:1 1.2.3.4:443 --name a.b"), Ok(Evidence::QuicSni));
        assert_eq!(of("udp 10.0.0.1:1 1.2.3.4:53 --name a.b"), Ok(Evidence::Dns));
        assert_eq!(of("tcp 10.0.0.1:1 1.2.3.4:80 --name a.b"), Ok(Evidence::HttpHost));
        assert_eq!(of("tcp 10.0.0.1:1 1.2.3.4:443"), Ok(Evidence::None));
        assert_eq!(of("a.b --evidence SNI"), Err(Exit::Usage));
        assert_eq!(of("a.b --evidence none"), Err(Exit::Usage));
        assert_eq!(of("tcp 10.0.0.1:1 1.2.3.4:443 --evidence sni"), Err(Exit::Usage), "of which name");
    }

    /// The very bytes that matched stand over the marks.
    #[test]
    fn what_matched_is_underlined() {
        let compiled = verdicts::compile(None, None, None).unwrap();
        let (sources, _) = sources::read(None).unwrap();
        let basis = Basis {
            sources: &sources,
            tiers: &compile::Options::default().tiers,
            table: &compiled.table,
            file: &compiled.file,
            rules: &compiled.rules,
            moment: &Moment::default(),
        };
        let name = explain::read_name("www.zhipin.com").unwrap();
        let flow = Flow { name: Some(&name), evidence: Evidence::Sni, group: GroupId(0) };
        let text = describe(None, &explain::explain(&basis, &flow));
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("www.zhipin.com"));
        assert!(
            lines.next().unwrap().starts_with("    ~~~~~~~~~~  suffix of signatures/recruitment.tsv:"),
            "{text}"
        );
        assert!(
            text.contains("boss-zhipin") && text.contains("licence") && text.contains("no rule decides"),
            "{text}"
        );
    }
}
