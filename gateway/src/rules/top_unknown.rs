//! `glassgate rules top-unknown`: domains of a capture that are in no list, where enough devices asked for them.
//!
//! A running gateway can't know: names end at its fast path, as numbers of services or as nothing. Who has a capture has
//! the names already; what this adds is a threshold, so that nobody has to look at what one person asked for.

use crate::cli::rules::TopUnknown;
use crate::exit::{Ended, Exit};
use crate::look;
use crate::replay::{self, Replay, Seen};
use crate::sources;
use anyhow::Result;
use glassgate_dataplane::classifier::Policy;
use glassgate_policy::table::SignatureTable;
use glassgate_policy::{Evidence, Name, Verdict, VerdictMatrix};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// What was found, as `--json` prints it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Found {
    captures: usize,
    /// Fewest devices of a domain that is named.
    devices: u32,
    /// Most devices first.
    domains: Vec<Domain>,
    /// Further domains with enough devices.
    not_shown: usize,
    /// Domains with too few devices to be named.
    withheld: usize,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Domain {
    domain: String,
    devices: usize,
    /// Different names under the domain.
    names: usize,
    flows: u64,
    bytes: u64,
}

/// Reads the captures.
pub(super) fn run(args: &TopUnknown) -> Result<Exit> {
    let invalid = |faults| Ended::new(Exit::Invalid, format!("signatures are wrong\n{faults}"));
    let compiled = sources::table(args.signatures.as_deref()).map_err(invalid)?;
    let table = Arc::new(SignatureTable::from_bytes(&compiled.bytes)?);
    let mut domains = Domains { table: table.clone(), all: HashMap::new() };
    let mut tell = |seen: &Seen<'_>| {
        domains.flow(seen);
        Ok(())
    };
    let outcome = replay::run(Replay {
        captures: &args.captures,
        policy: Policy { table, matrix: Arc::new(VerdictMatrix::uniform(1, Verdict::FAIL_OPEN)) },
        options: look::options(),
        tell: Some(&mut tell),
    })?;
    look::tell_damage(&outcome);
    let found = Found { captures: outcome.captures, ..domains.finish(args.devices, args.rows) };
    crate::print(&if args.json { serde_json::to_string(&found)? + "\n" } else { describe(&found) })?;
    Ok(look::end(&outcome, false))
}

struct Domains {
    table: Arc<SignatureTable>,
    all: HashMap<String, Seekers>,
}

/// Who asked for a domain.
#[derive(Default)]
struct Seekers {
    v4: HashSet<Ipv4Addr>,
    /// Prefixes: a device has many addresses in one and changes them when it likes (RFC 8981).
    v6: HashSet<u64>,
    names: HashSet<String>,
    flows: u64,
    bytes: u64,
}

impl Seekers {
    /// At least so many devices: most have an address of each kind.
    fn devices(&self) -> usize {
        self.v4.len().max(self.v6.len())
    }
}

impl Domains {
    fn flow(&mut self, seen: &Seen<'_>) {
        let s = seen.summary;
        // Without evidence they are readings of an ambiguous flow; a hint is a name that another flow has asked for.
        if matches!(s.evidence, Evidence::None | Evidence::DnsHint) {
            return;
        }
        let mut counted: HashSet<&str> = HashSet::new();
        for text in &seen.names {
            let Some(domain) = self.unknown(text) else { continue };
            let of = self.all.entry(domain.to_owned()).or_default();
            match s.tuple.client.ip {
                IpAddr::V4(address) => _ = of.v4.insert(address),
                IpAddr::V6(address) => _ = of.v6.insert((address.to_bits() >> 64) as u64),
            }
            of.names.insert((*text).to_owned());
            if counted.insert(domain) {
                of.flows += 1;
                of.bytes += s.bytes_up + s.bytes_down;
            }
        }
    }

    /// The registrable domain of a name that is in no list; none of names that nobody can register.
    fn unknown<'n>(&self, text: &'n str) -> Option<&'n str> {
        let name = Name::from_wire(text.as_bytes()).ok()?;
        if self.table.lookup(&name).is_some() || text.ends_with(".arpa") {
            return None;
        }
        let domain = psl::domain(text.as_bytes()).filter(|domain| domain.suffix().is_known())?;
        text.get(text.len().checked_sub(domain.as_bytes().len())?..)
    }

    fn finish(self, least: u32, rows: usize) -> Found {
        let all = self.all.len();
        let enough = self.all.into_iter().filter(|(_, of)| of.devices() >= least as usize);
        let mut domains: Vec<Domain> = enough
            .map(|(domain, of)| Domain {
                domain,
                devices: of.devices(),
                names: of.names.len(),
                flows: of.flows,
                bytes: of.bytes,
            })
            .collect();
        domains.sort_by(|a, b| b.devices.cmp(&a.devices).then_with(|| a.domain.cmp(&b.domain)));
        let withheld = all - domains.len();
        let not_shown = domains.len().saturating_sub(rows);
        domains.truncate(rows);
        Found { captures: 0, devices: least, domains, not_shown, withheld }
    }
}

fn describe(found: &Found) -> String {
    let mut out = format!(
        "{} captures; domains in no list that {} devices or more asked for\n",
        found.captures, found.devices
    );
    if !found.domains.is_empty() {
        let wide = found.domains.iter().map(|d| d.domain.len()).max().unwrap_or(0).max(6);
        _ = writeln!(
            out,
            "\n{:<wide$}  {:>7}  {:>7}  {:>9}  {:>14}",
            "domain", "devices", "names", "flows", "bytes"
        );
        for Domain { domain, devices, names, flows, bytes } in &found.domains {
            _ = writeln!(out, "{domain:<wide$}  {devices:>7}  {names:>7}  {flows:>9}  {bytes:>14}");
        }
    }
    let more = if found.not_shown > 0 {
        format!("{} more with enough devices; ", found.not_shown)
    } else {
        String::new()
    };
    _ = writeln!(out, "\n{more}{} with fewer devices, not named", found.withheld);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser as _;
    use glassgate_dataplane::classifier::FlowSummary;
    use glassgate_dataplane::packet::Vlans;
    use glassgate_policy::{Category, Endpoint, FiveTuple, L4, ServiceId};
    use std::net::Ipv6Addr;

    fn see(domains: &mut Domains, client: IpAddr, evidence: Evidence, names: &[&str]) {
        let summary = FlowSummary {
            tuple: FiveTuple {
                l4: L4::Tcp,
                client: Endpoint { ip: client, port: 40_000 },
                server: Endpoint { ip: Ipv4Addr::new(192, 0, 2, 2).into(), port: 443 },
            },
            vlans: Vlans::default(),
            first_frame: 1,
            name_frame: 4,
            first_ns: 0,
            ended_ns: 1,
            frames_up: 1,
            frames_down: 1,
            bytes_up: 1,
            bytes_down: 9,
            app: None,
            evidence,
            reason: None,
            service: ServiceId::NONE,
            category: Category::Unknown,
            verdict: Verdict::FAIL_OPEN,
            ech: false,
            multi_name: false,
        };
        domains.flow(&Seen {
            capture: "c",
            summary: &summary,
            names: names.to_vec(),
            claims: vec![],
            hello: None,
        });
    }

    fn domains() -> Domains {
        let table = Arc::new(glassgate_policy::builtin::table().unwrap());
        Domains { table, all: HashMap::new() }
    }

    fn host(n: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, n).into()
    }

    #[test]
    fn only_what_enough_devices_asked_for_is_named() {
        let mut all = domains();
        for n in 0..5 {
            see(&mut all, host(n), Evidence::Sni, &[&format!("h{n}.five.example.com")]);
            see(
                &mut all,
                host(n),
                Evidence::Dns,
                &["www.zhipin.com", "4.3.2.1.in-addr.arpa", "printer.lan", "com"],
            );
            see(&mut all, host(n), Evidence::None, &["ambiguous.example.net"]);
            see(&mut all, host(n), Evidence::DnsHint, &["hint.example.net"]);
        }
        for n in 0..4 {
            see(&mut all, host(n), Evidence::Sni, &["four.example.org"]);
            // The same device again is no other device.
            see(&mut all, host(0), Evidence::Sni, &["four.example.org"]);
        }
        let found = all.finish(5, 30);
        let five = Domain { domain: "example.com".into(), devices: 5, names: 5, flows: 5, bytes: 50 };
        assert_eq!((found.domains.as_slice(), found.withheld, found.not_shown), ([five].as_slice(), 1, 0));
        let text = describe(&found);
        assert!(
            text.contains("example.com") && !text.contains("example.org") && !text.contains("h0"),
            "{text}"
        );
    }

    /// One device with a new address for every flow stays one.
    #[test]
    fn temporary_addresses_are_one_device() {
        let mut all = domains();
        for n in 0..50 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, n);
            see(&mut all, address.into(), Evidence::QuicSni, &["www.example.com"]);
        }
        assert_eq!(all.finish(5, 30).withheld, 1);
    }

    #[test]
    fn fewer_than_five_devices_can_not_be_asked_for() {
        let parse = |devices: &str| {
            Cli::try_parse_from(["glassgate", "rules", "top-unknown", "a.pcap", "--devices", devices])
        };
        assert!(parse("5").is_ok() && parse("4").is_err() && parse("0").is_err());
    }
}
