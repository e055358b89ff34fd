//! From counters, events and processes to a [`Snapshot`].

use super::charter::Observed;
use super::history::{History, Totals};
use super::identity::Identity;
use super::inband;
use super::log::Log;
use super::policy::HandedOut;
use super::radius::Radius;
use super::snapshot::{
    Aggregate, Confinement, Count, EventsNow, FlowsNow, GroupNow, IdentityNow, InbandNow, LatencyNow,
    LcoreNow, LogNow, Outages, PolicyNow, PortNow, PushNow, Recording, ReportNow, RuleNow, SealedNow,
    Snapshot, Suppressed, UninspectedNow,
};
use crate::clock;
use crate::config::{Config, mac_text};
use crate::messages::{PortInfo, World};
use crate::page::push::Push;
use crate::said::Said;
use crate::verdicts::Compiled;
use glassgate_dataplane::counters::LcoreCounters;
use glassgate_dataplane::event_ring::EventRing;
use glassgate_dataplane::inband::{Refused, Unsent};
use glassgate_dataplane::latency;
use glassgate_dataplane::stats_page::{Reading, StatsPage, hash_words};
use glassgate_policy::audit::{Counts, Hex, Now};
use glassgate_policy::charter::Standing;
use glassgate_policy::engine;
use glassgate_policy::flow_event::EventKind;
use glassgate_policy::{Category, Evidence, ObservationLevel, Unobserved};

/// An lcore that has not shown its counters for this long is in trouble.
const SILENT_MS: u64 = 2000;

/// Everything that a snapshot is made from.
pub(super) struct Sources<'a> {
    pub(super) config: &'a Config,
    pub(super) now: &'a Now,
    pub(super) started_ns: u64,
    pub(super) lcores: &'a [(EventRing, StatsPage)],
    pub(super) confinement: &'a str,
    pub(super) fingerprint: &'a str,
    pub(super) world: &'a World,
    /// What the policy engine counted.
    pub(super) counted: &'a engine::Snapshot,
    pub(super) log: &'a Log,
    /// How it was when the rollup store last looked.
    pub(super) log_now: LogNow,
    pub(super) compiled: Option<&'a Compiled>,
    pub(super) handed_out: Option<&'a HandedOut>,
    pub(super) observed: Option<&'a Observed>,
    /// How many receipts of notices there were when the last hour was over.
    pub(super) receipts: usize,
    pub(super) identity: &'a Identity,
    pub(super) radius: Option<&'a Radius>,
    pub(super) push: Option<&'a Push>,
    pub(super) inband: Option<&'a inband::Counts>,
    pub(super) bypass: Option<&'a super::snapshot::BypassNow>,
    pub(super) page_trouble: Option<&'a Said>,
    pub(super) charter_trouble: Option<Said>,
    pub(super) sealed_trouble: Option<Said>,
    /// Keys of sealed records, and cases that are open.
    pub(super) sealed: (usize, usize),
    pub(super) loaded: &'a str,
    pub(super) rejected: Option<&'a str>,
}

impl Sources<'_> {
    /// The gateway now. Rates come from `history`, which learns from this moment.
    pub(super) fn snapshot(&self, history: &mut History) -> Snapshot {
        let readings: Vec<Reading> = self.lcores.iter().map(|(_, page)| page.read()).collect();
        let mut sum = LcoreCounters::default();
        readings.iter().for_each(|reading| sum.add(&reading.counters));
        history.note(totals(&sum, self.now.mono_ns));
        let lcores = self.lcores_now(&readings);
        let state = |of: fn(&Reading) -> u64| readings.iter().map(of).sum();
        let policy = self.policy_now(&lcores);
        let guard = self.world.processes.iter().find(|p| p.name == "guard");
        let mut snapshot = Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: clock::wall_text_at(self.now),
            uptime_ms: self.now.mono_ns.saturating_sub(guard.map_or(self.started_ns, |g| g.since_ns))
                / 1_000_000,
            troubles: Vec::new(),
            troubles_zh: Vec::new(),
            // They are looked at against what is made here.
            alerts: Vec::new(),
            alert_targets: Vec::new(),
            bypass: self.bypass.cloned(),
            recording: recording(&policy, self.observed),
            identity: self.identity_now(),
            inband: self.inband_now(&sum),
            sealed: SealedNow { keys: self.sealed.0, cases: self.sealed.1 },
            processes: self.world.processes.clone(),
            held_port: self.world.held_port.clone(),
            links_down: self.world.links_down.clone(),
            outages: Outages { count: self.world.outages, total_ms: self.world.outage_ms },
            uninspected: UninspectedNow {
                count: self.world.uninspected,
                total_ms: self.world.uninspected_ms,
                now: self.world.is_uninspected,
                fallback: self.world.fallback.clone(),
                fallback_missing: self.world.fallback_missing.clone(),
                held: self.world.held,
            },
            confinement: Confinement {
                dataplane: self.world.confinement.clone(),
                control: self.confinement.to_owned(),
            },
            ports: (0..2).map(|port| self.port_now(port, &sum, history)).collect(),
            latency: latency_now(&sum),
            flows: FlowsNow {
                active: state(|r| r.state.flows_active),
                capacity: state(|r| r.state.flows_capacity),
                opened: sum.flows_opened[0],
                opened_per_s: history.rates().flows,
            },
            named: named(&self.counted.evidence),
            unnamed: counts(self.counted.reasons.0.iter().copied()),
            too_weak: self.counted.too_weak,
            not_looked_at: self.counted.not_looked_at.max(sum.unobserved_flows.iter().sum()),
            unobserved: self.unobserved(&sum, history),
            categories: self.categories(),
            services: self.services(),
            report: self.report(),
            rules: self.rules(),
            not_flows: not_flows(&sum),
            events: self.events_now(),
            log: self.log_now.clone(),
            certificate: self.fingerprint.to_owned(),
            history: history.points(),
            lcores,
            policy,
        };
        let mut all = troubles(&snapshot);
        all.extend(
            self.page_trouble.into_iter().chain(&self.charter_trouble).chain(&self.sealed_trouble).cloned(),
        );
        all.extend(readings.iter().zip(&snapshot.lcores).filter_map(|(reading, lcore)| {
            let broken = reading.counters.broken(reading.state.flows_active)?;
            let cpu = lcore.cpu;
            Some(Said {
                en: format!("what the lcore on CPU {cpu} counted does not add up: {broken}"),
                zh: format!("CPU {cpu} 上 lcore 的计数不相符：{broken}"),
            })
        }));
        (snapshot.troubles, snapshot.troubles_zh) = all.into_iter().map(|said| (said.en, said.zh)).unzip();
        snapshot
    }

    /// Why flows were not looked at. Where a charter tells people apart, some of the reasons are about very few of them: the one
    /// who is exempt, the guest. There it is left at how many there were.
    fn unobserved(&self, sum: &LcoreCounters, history: &mut History) -> Vec<Count> {
        // What can't be put on record may be a charter.
        let apart = self.observed.is_none_or(|observed| !observed.levels.whole_network());
        let shown = !apart && self.counted.report.covered.is_empty();
        let flows = history.unobserved(sum.unobserved_flows, shown);
        counts(Unobserved::ALL.iter().zip(flows).map(|(why, flows)| (why.as_str(), flows)))
    }

    fn identity_now(&self) -> IdentityNow {
        let (enrolled, addresses, counters) = self.identity.counts();
        IdentityNow {
            groups: self.identity.groups().len(),
            enrolled,
            addresses,
            members: self.identity.members().len(),
            disputes: counters.disputes,
            no_room: counters.no_room,
            sessions: self.identity.logins().len(),
            receipts: self.receipts,
            radius: self.radius.map(|radius| radius.now(self.identity.logins())),
            push: self.push.map(|push| {
                let (set, withdrawn, refused) = push.counts();
                PushNow { set, withdrawn, refused: counts(refused.into_iter()) }
            }),
        }
    }

    /// The gateway's own address on the ports, and what became of the frames for it.
    fn inband_now(&self, sum: &LcoreCounters) -> Option<InbandNow> {
        let (own, stack) = (self.config.inband.as_ref()?, self.inband?);
        let nets = own.networks().flat_map(|(vlan, network)| {
            let nets = [network.v4.map(|net| net.to_string()), network.v6.map(|net| net.to_string())];
            nets.into_iter().flatten().map(move |net| match vlan {
                Some(vlan) => format!("{net} in VLAN {vlan}"),
                None => net,
            })
        });
        let stack = stack.now();
        Some(InbandNow {
            mac: own.mac.as_ref().map(mac_text).unwrap_or_default(),
            addresses: nets.collect(),
            port: own.port,
            management: own.management.as_str().to_owned(),
            copied: sum.inband_copied.iter().sum(),
            punted: sum.inband_punted[0],
            refused: counts(words(Refused::ALL, Refused::as_str, &sum.inband_refused)),
            unsent: counts(words(Unsent::ALL, Unsent::as_str, &sum.inband_unsent)),
            waiting: stack.waiting,
            open: stack.open,
            accepted: stack.accepted,
            turned_away: counts(stack.turned_away.into_iter()),
        })
    }

    fn categories(&self) -> Vec<Aggregate> {
        let all = self.counted.categories.iter();
        all.map(|c| aggregate(c.category, title_of(c.category), c.category, &c.totals)).collect()
    }

    fn services(&self) -> Vec<Aggregate> {
        let title = |s: &engine::ServiceTotals| s.title.clone().unwrap_or_else(|| s.service.clone());
        self.counted.services.iter().map(|s| aggregate(&s.service, title(s), s.category, &s.totals)).collect()
    }

    fn report(&self) -> ReportNow {
        let report = &self.counted.report;
        let row = |row: &engine::GroupRow| {
            let category = row.category.map(title_of);
            let title = match (&row.title, &row.service, category) {
                (Some(title), ..) => title.clone(),
                (None, Some(service), _) => service.clone(),
                (None, None, Some(category)) if row.rest => format!("{category}, the rest"),
                (None, None, Some(category)) => category,
                (None, None, None) => "All else".to_owned(),
            };
            GroupNow {
                group: row.group.clone(),
                category: row.category.map(str::to_owned),
                service: row.service.clone(),
                title,
                subjects: row.subjects.to_string(),
                k: row.k,
                flows: row.flows,
                blocked_percent: row.blocked_percent,
                bytes_up: row.volume.bytes_toserver,
                bytes_down: row.volume.bytes_toclient,
                visits: row.visits,
                active_s: row.active_s,
                uploads: row.uploads,
                large_uploads: row.large_uploads,
            }
        };
        let told = |c: &&engine::Covered| {
            let is = |row: &engine::GroupRow| {
                row.group.as_ref() == Some(&c.group) && row.category == Some(c.category)
            };
            !report.rows.iter().any(is)
        };
        let suppressed = |c: &engine::Covered| Suppressed {
            group: c.group.clone(),
            category: c.category.to_owned(),
            title: title_of(c.category),
            k: c.k,
        };
        let sight = report.sight.clone().unwrap_or_default();
        let began = |mono_ns| clock::wall_hour(mono_ns, self.now);
        ReportNow {
            since: report.since_mono_ns.map(began),
            rows: report.rows.iter().map(row).collect(),
            suppressed: report.covered.iter().filter(told).map(suppressed).collect(),
            named_percent: counts(sight.evidence_percent.0.iter().copied()),
            unnamed_percent: counts(sight.reasons_percent.0.iter().copied()),
        }
    }

    fn rules(&self) -> Vec<RuleNow> {
        let rules = self.counted.rules.iter();
        let hour = |mono_ns| clock::wall_hour(mono_ns, self.now);
        rules
            .map(|rule| RuleNow {
                name: rule.rule.clone(),
                enforced: rule.enforced,
                action: rule.action.clone(),
                last_hit: rule.last_mono_ns.map(hour),
                since: rule.since.map(clock::shown),
                rounded: rule.rounded,
                flows: rule.flows,
                bytes: rule.bytes,
            })
            .collect()
    }

    fn port_now(&self, i: usize, sum: &LcoreCounters, history: &History) -> PortNow {
        let rates = history.rates();
        PortNow {
            info: self.world.ports.get(i).cloned().unwrap_or_else(|| self.closed_port(i)),
            rx_frames: sum.rx_frames[i],
            rx_bytes: sum.rx_bytes[i],
            tx_frames: sum.tx_frames[i],
            tx_bytes: sum.tx_bytes[i],
            rx_missed: sum.rx_missed[i],
            drop_policy: sum.drop_policy[i],
            drop_limit: sum.drop_limit[i],
            answers: sum.answers[i],
            drop_tx_full: sum.drop_tx_full[i],
            inband_taken: sum.inband_taken[i],
            inband_sent: sum.inband_sent[i],
            rx_frames_per_s: rates.rx_frames[i],
            rx_bits_per_s: rates.rx_bits[i],
            tx_frames_per_s: rates.tx_frames[i],
            tx_bits_per_s: rates.tx_bits[i],
        }
    }

    fn closed_port(&self, i: usize) -> PortInfo {
        let ports = &self.config.ports;
        let (name, device) = if i == 0 { ("lan", &ports.lan) } else { ("uplink", &ports.uplink) };
        PortInfo {
            name: name.to_owned(),
            device: device.as_ref().map(ToString::to_string).unwrap_or_default(),
            driver: "closed".to_owned(),
            mac: None,
        }
    }

    fn lcores_now(&self, readings: &[Reading]) -> Vec<LcoreNow> {
        let expected = self.handed_out.map(|h| hash_words(&h.hash));
        let lcores = readings.iter().zip(self.lcores).zip(&self.config.dataplane.lcores);
        lcores
            .map(|((reading, (ring, _)), cpu)| {
                let (state, events) = (&reading.state, ring.watch());
                LcoreNow {
                    cpu: *cpu,
                    seen_ms_ago: self.now.mono_ns.saturating_sub(state.mono_ns) / 1_000_000,
                    load: 1.0 - state.idle_turns as f64 / state.turns.max(1) as f64,
                    p99_ns: latency::quantile(&reading.counters.turn_ns, 0.99),
                    turns: state.turns,
                    flows_active: state.flows_active,
                    flows_capacity: state.flows_capacity,
                    inspections: state.slab_used,
                    inspections_capacity: state.slab_capacity,
                    panics: reading.counters.panics[0],
                    epoch: state.matrix_epoch,
                    acknowledged: expected == Some(state.matrix_hash),
                    ring_capacity: ring.capacity() as u64,
                    ring_fill: events.sent.wrapping_sub(events.received).min(ring.capacity() as u64),
                }
            })
            .collect()
    }

    fn policy_now(&self, lcores: &[LcoreNow]) -> PolicyNow {
        let out = self.handed_out;
        let left = |until: u64| until.saturating_sub(self.now.mono_ns) as f64 / 1e9;
        PolicyNow {
            epoch: out.map_or(0, |o| o.epoch),
            matrix_hash: out.map(|o| Hex(&o.hash).to_string()).unwrap_or_default(),
            table_hash: self.compiled.map(|c| Hex(&c.table.hash()).to_string()).unwrap_or_default(),
            table_content: self
                .compiled
                .map(|c| Hex(&c.table.content_hash()).to_string())
                .unwrap_or_default(),
            acknowledged: lcores.iter().filter(|l| l.acknowledged).count(),
            lcores: lcores.len(),
            valid_for_s: out.map_or(0.0, |o| left(o.valid_until_ns)),
            services: self.compiled.map_or(0, |c| c.services as u64),
            signatures: self.compiled.map_or(0, |c| c.signatures as u64),
            rules: self.compiled.map_or(0, |c| c.rules.as_slice().len() as u64),
            loaded: self.loaded.to_owned(),
            rejected: self.rejected.map(str::to_owned),
            refused: self.world.refused.clone(),
            pack_day: self.compiled.and_then(|c| c.pack_day),
            lists: self.compiled.map(|c| c.feeds.clone()).unwrap_or_default(),
        }
    }

    fn events_now(&self) -> EventsNow {
        let mut lost = [0u64; EventKind::ALL.len()];
        let mut bad = 0;
        for (ring, _) in self.lcores {
            let counters = ring.watch();
            lost.iter_mut().zip(counters.lost).for_each(|(sum, n)| *sum = sum.wrapping_add(n));
            bad += counters.bad_events + counters.bad_indices;
        }
        let lost = EventKind::ALL.iter().zip(lost);
        EventsNow {
            received: self.counted.counters.events,
            lost: lost.map(|(kind, count)| Count { name: kind.as_str().to_owned(), count }).collect(),
            bad,
            missing: self.counted.counters.missing,
            records: self.log.committed(),
            log_bytes: self.log.bytes(),
            log_trouble: self.log.trouble().map(str::to_owned),
            witness_trouble: self.log.witness_trouble().map(str::to_owned),
        }
    }
}

/// Numbers with the words for them.
fn words<R: Copy>(
    all: &'static [R],
    word: fn(R) -> &'static str,
    numbers: &[u64],
) -> impl Iterator<Item = (&'static str, u64)> {
    all.iter().map(move |r| word(*r)).zip(numbers.iter().copied())
}

fn latency_now(sum: &LcoreCounters) -> LatencyNow {
    let quantile = |q| latency::quantile(&sum.turn_ns, q);
    let mut frames = 0;
    let ends = sum.turn_ns.iter().enumerate().map(|(bucket, count)| {
        frames += count;
        (latency::bucket_end(bucket), frames)
    });
    // Octaves are enough for whoever stores them; the open end is the number of all.
    let below = ends.filter(|(end, _)| end.is_power_of_two()).collect();
    LatencyNow {
        frames: sum.turn_ns.iter().sum(),
        p50_ns: quantile(0.5),
        p90_ns: quantile(0.9),
        p99_ns: quantile(0.99),
        p999_ns: quantile(0.999),
        max_ns: quantile(1.0),
        below,
    }
}

fn totals(sum: &LcoreCounters, mono_ns: u64) -> Totals {
    Totals {
        mono_ns,
        rx_frames: sum.rx_frames,
        rx_bytes: sum.rx_bytes,
        tx_frames: sum.tx_frames,
        tx_bytes: sum.tx_bytes,
        drops: [sum.drop_policy, sum.drop_limit, sum.drop_tx_full, sum.rx_missed].iter().flatten().sum(),
        flows: sum.flows_opened[0],
    }
}

/// Frames that belong to no flow, by what they are.
fn not_flows(sum: &LcoreCounters) -> Vec<Count> {
    let families = ["opaque_frames", "tunnel_frames", "malformed_frames", "fragment_frames"];
    counts(sum.each().filter(|(family, _, _)| families.contains(family)).map(|(family, label, count)| {
        (label.unwrap_or(if family == "fragment_frames" { "fragments" } else { family }), count)
    }))
}

/// What is recorded, from what is in force.
fn recording(policy: &PolicyNow, observed: Option<&Observed>) -> Recording {
    let level =
        observed.filter(|_| policy.acknowledged > 0).map_or(ObservationLevel::None, Observed::highest);
    let charter = observed.is_some_and(|o| o.observation.standing == Standing::InForce);
    let (what, what_zh) = match (level, charter) {
        (ObservationLevel::Aggregate, false) => (
            "Counts per service and category. No names, no addresses, no devices, no people.",
            "按服务与类别计数。没有名称、地址、设备，也不涉及个人。",
        ),
        (ObservationLevel::Aggregate, true) => (
            "Counts per group, service and hour that enough people stand behind. No names, no addresses, no people.",
            "按部门、服务与小时计数，且人数足够。没有名称、地址，也不涉及个人。",
        ),
        (ObservationLevel::Sealed, _) => (
            "Counts per group, service and hour that enough people stand behind; and a sealed record of each visit, which two people of three can open together.",
            "按部门、服务与小时计数，且人数足够；另为每次访问写一条封存记录，三人中须两人共同开启。",
        ),
        (ObservationLevel::None, _) if policy.acknowledged > 0 => (
            "Nothing about anybody. Flows that were not looked at are counted.",
            "不记录任何人。仅统计未检视的流数。",
        ),
        (ObservationLevel::None, _) => (
            "Nothing about anybody. No verdicts are in force, so the fast path forwards and counts frames only.",
            "不记录任何人。没有生效的判定，快速路径仅转发并统计帧数。",
        ),
    };
    let basis = observed.map_or_else(
        || {
            Said::new(
                "What is observed can't be put on record, so nothing is.",
                "观察内容无法写入审计日志，因此不观察。",
            )
        },
        |observed| observed.basis.clone(),
    );
    Recording {
        level: level.as_str().to_owned(),
        what: what.to_owned(),
        basis: basis.en,
        what_zh: what_zh.to_owned(),
        basis_zh: basis.zh,
    }
}

/// Everything that does not work, for people.
/// Who forwards in place of the fast path, in words.
fn forwarder(word: &str) -> [&str; 2] {
    match word {
        "kernel_bridge" => ["the bridge of the kernel", "内核网桥"],
        "relay" => ["the bypass card", "旁路卡"],
        _ => [word; 2],
    }
}

fn troubles(now: &Snapshot) -> Vec<Said> {
    let mut troubles = Vec::new();
    let mut say = |en: String, zh: String| troubles.push(Said { en, zh });
    for process in now.processes.iter().filter(|p| p.state != "up") {
        let (name, state) = (&process.name, &process.state);
        let end = process.last_end.as_ref().map(|end| format!(": {end}")).unwrap_or_default();
        say(format!("the {name} process is {state}{end}"), format!("进程 {name} 的状态为 {state}{end}"));
    }
    if now.uninspected.held {
        say(
            "the data plane ended too often and is not started again: frames pass uninspected; `glassgate bypass off` starts it".to_owned(),
            "数据面频繁退出，不再自动重启：帧未经检测直接通过；用 `glassgate bypass off` 重新启动".to_owned(),
        );
    } else if now.uninspected.now && now.uninspected.fallback != "nobody" {
        let [en, zh] = forwarder(&now.uninspected.fallback);
        say(format!("frames pass uninspected, by {en}"), format!("帧未经检测，由{zh}转发"));
    }
    if let Some(bypass) = &now.bypass {
        let since = &bypass.since;
        say(
            format!(
                "the bypass is on since {since}: everything is forwarded, nothing observed; `glassgate bypass off` ends it"
            ),
            format!("旁路自 {since} 起开启：全部转发，不观察；用 `glassgate bypass off` 结束"),
        );
    }
    if let Some([held, lost]) = &now.held_port {
        say(
            format!("`{lost}` has no link, so `{held}` is held down (ports.propagate_link)"),
            format!("`{lost}` 无链路，因此 `{held}` 保持断开（ports.propagate_link）"),
        );
    }
    for lcore in now.lcores.iter().filter(|l| l.seen_ms_ago > SILENT_MS) {
        let cpu = lcore.cpu;
        say(
            format!("the lcore on CPU {cpu} has shown no sign for a while"),
            format!("CPU {cpu} 上的 lcore 已有一段时间没有动静"),
        );
    }
    if let Some(rejected) = &now.policy.rejected {
        let first = rejected.lines().next().unwrap_or_default();
        say(
            format!("rules or signatures on disk were not taken, what was in force stays: {first}"),
            format!("磁盘上的规则或签名未被采用，原有内容继续生效：{first}"),
        );
    }
    if let Some(refused) = &now.policy.refused {
        say(
            format!("the data plane refused the verdicts: {refused}"),
            format!("数据面拒绝了判定：{refused}"),
        );
    }
    for list in now.policy.lists.iter().filter(|list| list.state != "good") {
        let why = list.trouble.iter().chain(&list.reasons).cloned().collect::<Vec<_>>().join("; ");
        let (name, state, names) = (&list.name, &list.state, list.names);
        let zh = if state == "held" { "被隔离" } else { "无法读取" };
        say(
            format!("the list `{name}` is {state}, {names} names stay in use: {why}"),
            format!("列表 `{name}` {zh}，{names} 个名称继续使用：{why}"),
        );
    }
    if let Some(trouble) = &now.events.log_trouble {
        say(
            format!("the audit log does not take records: {trouble}"),
            format!("审计日志无法写入：{trouble}"),
        );
    }
    if let Some(trouble) = &now.events.witness_trouble {
        say(
            format!("nobody else witnesses the audit log, which takes records as before: {trouble}"),
            format!("审计日志没有见证，但照常写入：{trouble}"),
        );
    }
    if now.policy.epoch == 0 {
        say(
            "no verdicts are in force: everything is forwarded, nothing observed".to_owned(),
            "没有生效的判定：全部转发，不观察".to_owned(),
        );
    } else if now.policy.valid_for_s <= 0.0 {
        say(
            "the verdicts have run out: everything is forwarded, nothing observed".to_owned(),
            "判定已过期：全部转发，不观察".to_owned(),
        );
    }
    troubles
}

/// Words with a count that is not zero, greatest first.
pub(super) fn counts<'a>(all: impl Iterator<Item = (&'a str, u64)>) -> Vec<Count> {
    let mut counts: Vec<Count> =
        all.filter(|(_, n)| *n > 0).map(|(name, count)| Count { name: name.to_owned(), count }).collect();
    counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    counts
}

/// Flows with a name, by evidence.
fn named(evidence: &Counts) -> Vec<Count> {
    counts(evidence.0.iter().copied().filter(|(word, _)| *word != Evidence::None.as_str()))
}

fn aggregate(name: &str, title: String, category: &str, totals: &engine::Totals) -> Aggregate {
    Aggregate {
        name: name.to_owned(),
        title,
        category: category.to_owned(),
        flows: totals.flows,
        flows_blocked: totals.flows_blocked,
        bytes_up: totals.volume.bytes_toserver,
        bytes_down: totals.volume.bytes_toclient,
    }
}

/// A category as people call it.
/// A category, as people read it.
pub(crate) fn title_of(category: &str) -> String {
    if category == Category::Unknown.as_str() {
        return "In no list".to_owned();
    }
    let mut words = category.replace('_', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is wrong is said in both languages, as often in one as in the other.
    #[test]
    fn every_trouble_is_said_in_both_languages() {
        let mut now = crate::page::sample::snapshot();
        now.processes.iter_mut().for_each(|process| process.state = "waiting".to_owned());
        now.bypass = Some(Default::default());
        now.held_port = Some(["eth1".to_owned(), "eth2".to_owned()]);
        now.lcores.iter_mut().for_each(|lcore| lcore.seen_ms_ago = SILENT_MS + 1);
        (now.policy.rejected, now.policy.refused) = (Some("line 1".to_owned()), Some("epoch".to_owned()));
        (now.events.log_trouble, now.events.witness_trouble) =
            (Some("disk".to_owned()), Some("away".to_owned()));
        now.policy.valid_for_s = 0.0;
        let all = troubles(&now);
        now.policy.epoch = 0;
        let last = troubles(&now).pop();
        assert_eq!(all.len(), 3 + 1 + 1 + 2 + 2 + 1 + 2 + 1, "{all:?}");
        let mut seen = std::collections::HashSet::new();
        for said in all.iter().chain(&last) {
            assert!(said.en.is_ascii() && !said.zh.is_ascii() && seen.insert(&said.zh), "{said:?}");
        }
    }
}
