//! `glassgate rules explain`: why a name or a flow is treated as it is.

use crate::cli::rules::Explain;
use crate::config::PolicyFiles;
use crate::exit::{Ended, Exit};
use crate::sources;
use crate::terms::Terms;
use crate::verdicts;
use anyhow::Result;
use glassgate_dataplane::inspect::dns;
use glassgate_policy::clue::{Clue, JA4, Kind};
use glassgate_policy::compile;
use glassgate_policy::diagnostic::Diagnostics;
use glassgate_policy::explain::{self, Basis, Explanation, Flow, Listed, RuleSays};
use glassgate_policy::source::Source;
use glassgate_policy::{Endpoint, Evidence, L4};
use running::Running;
use serde::Serialize;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;

mod running;

/// The widest list of rules or entries that is shown as text; JSON has all.
const ROWS: usize = 20;

/// What the answer is, as `--json` prints it.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    explained: &'a Explanation,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<&'a Running>,
}

/// The flow that is asked about, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tuple {
    l4: L4,
    client: Option<Endpoint>,
    server: Endpoint,
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(client) => write!(f, "{} {client} > {}", self.l4, self.server),
            None => write!(f, "{} > {}", self.l4, self.server),
        }
    }
}

/// Explains what the arguments name.
pub(super) fn run(args: &Explain) -> Result<Exit> {
    let (tuple, name) = asked(args)?;
    let name = name.map(|name| explain::read_name(&name)).transpose().map_err(usage)?;
    let evidence = evidence(args, tuple.as_ref(), name.is_some())?;
    let ja4 = hello(args)?;
    let invalid = |faults| Ended::new(Exit::Invalid, format!("rules or signatures are wrong\n{faults}"));
    let mut terms = Terms::read(&args.under)?;
    terms.moment.calendars.extend(args.open.iter().map(|calendar| (calendar.clone(), true)));
    let files = super::files_or_defaults(&args.files).map_err(invalid)?;
    let declared = terms.declared.clone();
    let compiled = verdicts::compile_with(&files, declared, terms.moment.today, false).map_err(invalid)?;
    let sources = all_sources(&files).map_err(invalid)?;
    let basis = Basis {
        sources: &sources,
        tiers: &compile::Options::default().tiers,
        table: &compiled.table,
        file: &compiled.file,
        rules: &compiled.rules,
        moment: &terms.moment,
        recording: terms.recording(),
    };
    let (l4, port) = tuple.map_or((L4::Tcp, 0), |tuple| (tuple.l4, tuple.server.port));
    let offers = |protocol: Option<&[u8]>| dns::encrypted(l4, port, protocol).is_some();
    let explained = explain::explain(
        &basis,
        &Flow {
            name: name.as_ref(),
            evidence,
            group: terms.row,
            server: tuple.map(|tuple| (tuple.server.ip, tuple.l4, tuple.server.port)),
            alpn: &args.alpn,
            ja4: ja4.as_ref(),
            encrypted_dns: offers(None) || args.alpn.iter().any(|id| offers(Some(id.as_bytes()))),
        },
    );
    let running = if args.running { Some(running::ask(&args.files, &compiled)?) } else { None };
    crate::print(&if args.json {
        serde_json::to_string(&Answer { explained: &explained, running: running.as_ref() })? + "\n"
    } else {
        let mut files = super::names(&files);
        files.extend(args.under.charter.as_ref().map(|path| path.display().to_string()));
        let files = files.join(", ");
        let mut out = describe(tuple.as_ref(), &args.alpn, &explained);
        _ = writeln!(out, "{:<12}{files}", "files");
        if let Some(running) = &running {
            paragraph(&mut out, "running", &running.lines());
        }
        out
    })?;
    Ok(Exit::Done)
}

/// The fingerprint of the hello that is asked about. Protocols and fingerprints are held to how they are written.
fn hello(args: &Explain) -> Result<Option<[u8; JA4]>, Ended> {
    let read = |kind, text: &String| {
        Clue::parse(kind, text).map_err(|(what, help)| usage(format!("{what}: {help}")))
    };
    for id in &args.alpn {
        read(Kind::Alpn, id)?;
    }
    match args.ja4.as_ref().map(|text| read(Kind::Ja4, text)).transpose()? {
        Some(Clue::Ja4(text)) => Ok(Some(text)),
        _ => Ok(None),
    }
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
fn asked(args: &Explain) -> Result<(Option<Tuple>, Option<String>), Ended> {
    let words: Vec<&str> = args.what.iter().flat_map(|word| word.split_whitespace()).collect();
    let to = |l4, server| -> Result<_, Ended> {
        Ok((Some(Tuple { l4, client: None, server: endpoint(server)? }), args.name.clone()))
    };
    match words.as_slice() {
        [server] if server.parse::<SocketAddr>().is_ok() => to(L4::Tcp, server),
        [name] if args.name.is_none() && name.parse::<std::net::IpAddr>().is_err() => {
            Ok((None, Some((*name).to_owned())))
        }
        [address] if address.parse::<std::net::IpAddr>().is_ok() => Err(usage(
            "an address by itself is no flow: ask with a port, such as `1.2.3.4:443` or `udp [2001:db8::1]:853`"
                .to_owned(),
        )),
        [_] => Err(usage("--name goes with a 5-tuple; a name by itself needs no option".to_owned())),
        [l4, server] => to(transport(l4)?, server),
        [l4, client, server] => {
            let (l4, client, server) = (transport(l4)?, Some(endpoint(client)?), endpoint(server)?);
            Ok((Some(Tuple { l4, client, server }), args.name.clone()))
        }
        _ => Err(usage(
            "ask for a name, such as `www.zhipin.com`, or for a flow, such as `tcp 10.0.0.1:40000 1.2.3.4:443`"
                .to_owned(),
        )),
    }
}

fn endpoint(text: &str) -> Result<Endpoint, Ended> {
    let at: Result<SocketAddr, _> = text.parse();
    at.map(|at| Endpoint { ip: at.ip(), port: at.port() }).map_err(|_| {
        usage(format!("`{text}` is no address with a port: write `10.0.0.1:443` or `[2001:db8::1]:443`"))
    })
}

fn transport(word: &str) -> Result<L4, Ended> {
    L4::from_word(&word.to_lowercase())
        .ok_or_else(|| usage(format!("`{word}` makes no flows: write `tcp` or `udp`")))
}

/// How the name is known, if nobody says: as it is for most flows of this kind.
fn evidence(args: &Explain, tuple: Option<&Tuple>, named: bool) -> Result<Evidence, Ended> {
    if let Some(word) = &args.evidence {
        return Evidence::from_word(word).filter(|e| named != (*e == Evidence::None)).ok_or_else(|| {
            usage(format!("`{word}` is no evidence of this: write sni, quic_sni, http_host, dns or dns_hint"))
        });
    }
    Ok(match tuple {
        _ if !named => Evidence::None,
        Some(Tuple { server: Endpoint { port: 53, .. }, .. }) => Evidence::Dns,
        Some(Tuple { server: Endpoint { port: 80, .. }, l4: L4::Tcp, .. }) => Evidence::HttpHost,
        Some(Tuple { l4: L4::Udp, .. }) => Evidence::QuicSni,
        _ => Evidence::Sni,
    })
}

/// The answer as text: what is known of the flow with what matched underlined, then one paragraph a question.
fn describe(tuple: Option<&Tuple>, alpn: &[String], said: &Explanation) -> String {
    let mut out = String::new();
    let matched = |out: &mut String, before: usize, len: usize, entry: &Listed| {
        let (before, marks) = (" ".repeat(before), "~".repeat(len));
        _ = writeln!(out, "{before}{marks}  {} of {}", entry.scope, place(entry));
    };
    let by = said.entry.as_ref().map_or("", |entry| entry.scope);
    if let Some(tuple) = tuple {
        let text = tuple.to_string();
        _ = writeln!(out, "{text}");
        if let (Some(entry), "address") = (&said.entry, by) {
            let server = tuple.server.to_string().len();
            matched(&mut out, text.len().saturating_sub(server), server, entry);
        }
    }
    if !alpn.is_empty() {
        let before = "offers ";
        _ = writeln!(out, "{before}{}", alpn.join(" "));
        if let (Some(entry), "alpn") = (&said.entry, by) {
            let others = alpn.iter().take_while(|id| **id != entry.name).map(|id| id.len() + 1);
            matched(&mut out, before.len() + others.sum::<usize>(), entry.name.len(), entry);
        }
    }
    if let (Some(entry), "ja4") = (&said.entry, by) {
        _ = writeln!(out, "{}", entry.name);
        matched(&mut out, 0, entry.name.len(), entry);
    }
    match (&said.name, &said.entry) {
        (Some(name), Some(entry)) if entry.matched > 0 => {
            _ = writeln!(out, "{name}");
            matched(&mut out, entry.matched_from, entry.matched, entry);
        }
        (Some(name), _) => _ = writeln!(out, "{name}\n  in no list"),
        (None, None) => _ = writeln!(out, "  no name: give it with --name if you know it"),
        (None, Some(_)) => {}
    }
    if said.entry.is_none() && said.category != "unknown" {
        paragraph(
            &mut out,
            "service",
            &[format!("none, category {}: by its port or protocol", said.category)],
        );
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
    recording.extend(said.gates.iter().map(|g| {
        let mark = if g.decides { '>' } else { ' ' };
        format!("{mark} {:<9} lets {:<9} {}", g.gate, g.lets, g.why)
    }));
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
    let place = |r: &RuleSays| match r.line {
        0 => "a subscription".to_owned(),
        line => format!("{}:{line}", r.file),
    };
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
    use glassgate_policy::GroupId;
    use glassgate_policy::explain::Recording;
    use glassgate_policy::rules::Moment;

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
        let to = |text: &str| (Some(text.to_owned()), None);
        assert_eq!(asked("1.1.1.1:853").unwrap(), to("tcp > 1.1.1.1:853"));
        assert_eq!(asked("udp [2620:fe::fe]:853").unwrap(), to("udp > [2620:fe::fe]:853"));
        let with_name = (Some("tcp > 1.1.1.1:853".to_owned()), Some("a.b".to_owned()));
        assert_eq!(asked("1.1.1.1:853 --name a.b").unwrap(), with_name);
        assert_eq!(asked("www.zhipin.com").unwrap(), (None, Some("www.zhipin.com".to_owned())));
        let tuple = "tcp 10.0.0.1:40000 > 1.2.3.4:443".to_owned();
        assert_eq!(asked("tcp 10.0.0.1:40000 1.2.3.4:443").unwrap(), (Some(tuple.clone()), None));
        let with_name = asked("TCP 10.0.0.1:40000 1.2.3.4:443 --name a.b").unwrap();
        assert_eq!(with_name, (Some(tuple), Some("a.b".to_owned())));
        assert!(asked("udp [2001:db8::1]:1 [2001:db8::2]:443").is_ok());
        for bad in [
            "10.0.0.1",
            "a.b --name c.d",
            "sctp 10.0.0.1:1",
            "tcp 10.0.0.1",
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

    /// What is asked with these words, with the signatures that come with the gateway.
    fn answer(words: &str) -> String {
        let args = parse(words);
        let (tuple, name) = asked(&args).unwrap();
        let name = name.map(|name| explain::read_name(&name).unwrap());
        let compiled = verdicts::compile(None, None, None).unwrap();
        let (sources, _) = sources::read(None).unwrap();
        let basis = Basis {
            sources: &sources,
            tiers: &compile::Options::default().tiers,
            table: &compiled.table,
            file: &compiled.file,
            rules: &compiled.rules,
            moment: &Moment::default(),
            recording: Recording::WithoutCharter,
        };
        let flow = Flow {
            name: name.as_ref(),
            evidence: evidence(&args, tuple.as_ref(), name.is_some()).unwrap(),
            group: GroupId(0),
            server: tuple.map(|t| (t.server.ip, t.l4, t.server.port)),
            alpn: &args.alpn,
            ja4: None,
            encrypted_dns: false,
        };
        describe(tuple.as_ref(), &args.alpn, &explain::explain(&basis, &flow))
    }

    /// The very bytes that matched stand over the marks.
    #[test]
    fn what_matched_is_underlined() {
        let text = answer("www.zhipin.com");
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
        let text = answer("udp 10.0.0.1:40000 [2620:fe::fe]:853 --alpn doq");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "udp 10.0.0.1:40000 > [2620:fe::fe]:853");
        assert!(
            lines[1].starts_with("                     ~~~~~~~~~~~~~~~~~  address of signatures/clues.tsv:"),
            "{text}"
        );
        for part in [
            "Quad9 (quad9), category tunnel",
            "2620:fe::fe/128,any/853 address",
            "source quad9.net",
            "added 2026-11-22",
            "doq alpn (strong)",
            "says more of the same",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = answer("192.0.2.1:443 --alpn h2 --alpn dot");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "offers h2 dot");
        assert!(lines[2].starts_with("          ~~~  alpn of signatures/clues.tsv:"), "{text}");
        let text = answer("1.1.1.1:853 --name www.zhipin.com");
        assert!(text.contains("the flow has a name") && text.contains("boss-zhipin"), "{text}");
        assert!(answer("192.0.2.1:443").contains("no name: give it"), "nothing is known of it");
    }
}
