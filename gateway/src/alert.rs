//! Conditions that somebody has to know of: each with a name that stays, what it means, and how long it must hold before it counts.
//!
//! The names are an interface: they stand in the metrics, in what is sent, in `alerts.silent` and in the manual, where a test looks for a
//! section of each. None of them is about a person; what an alert is `about` is a port, a process, a list, a reason, or a day.

use glassgate_policy::audit::Record;
use serde::{Deserialize, Serialize};

/// A condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Alert {
    NotForwarding,
    LinkDown,
    ProcessRestarted,
    FramesDropped,
    FlowTableFull,
    InspectorPanicked,
    VerdictsDecayed,
    FilesNotTaken,
    BypassOn,
    LogFailing,
    LogGap,
    WitnessFailing,
    CharterEndsSoon,
    CharterEnded,
    ClockNotTrusted,
    ClockStepped,
    ListHeld,
    ListOld,
    LoginsFailed,
    PageFlooded,
    AlertsUnsent,
}

/// What is known of a condition before it holds.
pub(crate) struct About {
    pub(crate) name: &'static str,
    /// Traffic, the log or what may be observed is hurt now; else somebody should look, soon.
    pub(crate) grave: bool,
    /// Seconds that it must hold before it is raised, and be over before it is cleared.
    pub(crate) after_s: u64,
    pub(crate) over_s: u64,
    /// What it says, in both languages.
    pub(crate) en: &'static str,
    pub(crate) zh: &'static str,
}

const fn about(
    name: &'static str,
    grave: bool,
    [after_s, over_s]: [u64; 2],
    en: &'static str,
    zh: &'static str,
) -> About {
    About { name, grave, after_s, over_s, en, zh }
}

impl Alert {
    pub(crate) const ALL: [Self; 21] = [
        Self::NotForwarding,
        Self::LinkDown,
        Self::ProcessRestarted,
        Self::FramesDropped,
        Self::FlowTableFull,
        Self::InspectorPanicked,
        Self::VerdictsDecayed,
        Self::FilesNotTaken,
        Self::BypassOn,
        Self::LogFailing,
        Self::LogGap,
        Self::WitnessFailing,
        Self::CharterEndsSoon,
        Self::CharterEnded,
        Self::ClockNotTrusted,
        Self::ClockStepped,
        Self::ListHeld,
        Self::ListOld,
        Self::LoginsFailed,
        Self::PageFlooded,
        Self::AlertsUnsent,
    ];

    /// What is known of it.
    pub(crate) const fn about(self) -> About {
        match self {
            Self::NotForwarding => about("not_forwarding", true, [2, 5], "Nothing is forwarded", "未在转发"),
            Self::LinkDown => about("link_down", true, [3, 10], "A port has no link", "端口无链路"),
            Self::ProcessRestarted => {
                about("process_restarted", false, [0, 0], "A process was started again", "进程已重启")
            }
            Self::FramesDropped => about(
                "frames_dropped",
                true,
                [0, 60],
                "Frames are lost that nobody asked to drop",
                "有帧丢失，且并非规则所致",
            ),
            Self::FlowTableFull => {
                about("flow_table_full", true, [5, 30], "A flow table is nearly full", "流表将满")
            }
            Self::InspectorPanicked => about(
                "inspector_panicked",
                false,
                [0, 0],
                "An inspector panicked over a frame, which passed",
                "检查器处理某帧时崩溃，该帧已放行",
            ),
            Self::VerdictsDecayed => about(
                "verdicts_decayed",
                true,
                [10, 5],
                "The verdicts have run out: everything is forwarded, nothing observed",
                "判定已过期：全部转发，不观察",
            ),
            Self::FilesNotTaken => about(
                "files_not_taken",
                false,
                [0, 0],
                "Rules or signatures on disk were not taken",
                "磁盘上的规则或签名未被采用",
            ),
            Self::BypassOn => about("bypass_on", false, [0, 0], "The bypass is on", "旁路已开启"),
            Self::LogFailing => {
                about("log_failing", true, [2, 10], "The audit log does not take records", "审计日志无法写入")
            }
            Self::LogGap => about(
                "log_gap",
                true,
                [0, 0],
                "Records of the audit log, or events for it, were lost",
                "审计记录或其事件有缺失",
            ),
            Self::WitnessFailing => about(
                "witness_failing",
                false,
                [0, 30],
                "No witness signs the audit log, or it saw another one",
                "审计日志无见证，或见证所见不同",
            ),
            Self::CharterEndsSoon => {
                about("charter_ends_soon", false, [0, 0], "The charter ends soon", "章程即将到期")
            }
            Self::CharterEnded => about(
                "charter_ended",
                true,
                [5, 5],
                "The charter that is installed is not in force: nothing is observed",
                "已安装的章程未生效：不观察",
            ),
            Self::ClockNotTrusted => about(
                "clock_not_trusted",
                true,
                [600, 60],
                "A charter is installed and no time server sets the clock: nothing is observed",
                "已安装章程，但时钟未经时间服务器校准：不观察",
            ),
            Self::ClockStepped => {
                about("clock_stepped", false, [0, 0], "The clock on the wall was stepped", "系统时钟发生跳变")
            }
            Self::ListHeld => about(
                "list_held",
                false,
                [0, 0],
                "A subscribed list is held or can't be read",
                "订阅列表被隔离或无法读取",
            ),
            Self::ListOld => about(
                "list_old",
                false,
                [0, 0],
                "A subscribed list or the pack has not been renewed for long",
                "订阅列表或签名包久未更新",
            ),
            Self::LoginsFailed => {
                about("logins_failed", false, [0, 60], "Many logins were refused", "登录被拒次数过多")
            }
            Self::PageFlooded => about(
                "page_flooded",
                false,
                [0, 60],
                "The gateway's own address gets more frames than it takes",
                "网关自身地址收到的帧超过接收上限",
            ),
            Self::AlertsUnsent => {
                about("alerts_unsent", false, [120, 0], "Alerts can't be delivered", "告警无法送达")
            }
        }
    }

    /// The name.
    pub(crate) const fn as_str(self) -> &'static str {
        self.about().name
    }

    /// The alert of a name.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alert| alert.as_str() == word)
    }

    /// What stands in the audit log of a change.
    pub(crate) const fn record(self, raised: bool, about: &str) -> Record<'_> {
        let state = if raised { "raised" } else { "cleared" };
        Record::Alert { alert: self.as_str(), state, severity: self.severity(), about }
    }

    /// `critical` or `warning`.
    pub(crate) const fn severity(self) -> &'static str {
        if self.about().grave { "critical" } else { "warning" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_those_of_serde_and_nothing_is_said_twice() {
        let (mut names, mut words) = (HashSet::new(), HashSet::new());
        for (at, alert) in Alert::ALL.into_iter().enumerate() {
            assert_eq!(alert as usize, at, "{alert:?} is not in its place");
            let about = alert.about();
            assert_eq!(serde_json::to_string(&alert).unwrap(), format!("\"{}\"", about.name));
            assert_eq!(Alert::from_word(about.name), Some(alert));
            assert!(names.insert(about.name) && words.insert(about.en) && words.insert(about.zh));
            assert!(!about.zh.is_ascii() && about.en.is_ascii());
        }
    }

    /// Whoever is woken by an alert finds what it means and what to do.
    #[test]
    fn every_alert_has_its_paragraphs_in_the_manual() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
        let text = std::fs::read_to_string(path).unwrap();
        let sections: Vec<(&str, &str)> =
            text.split("\n### `").skip(1).filter_map(|part| part.split_once("`\n")).collect();
        for alert in Alert::ALL {
            let (_, body) = sections
                .iter()
                .find(|(name, _)| *name == alert.as_str())
                .unwrap_or_else(|| panic!("docs/operations.md has no section `{}`", alert.as_str()));
            let body = body.split("\n#").next().unwrap();
            assert!(body.contains("*Means.*") && body.contains("*Do.*"), "{}: {body}", alert.as_str());
            assert!(body.split_whitespace().count() >= 20, "{}: {body}", alert.as_str());
        }
        for (name, _) in sections {
            assert!(Alert::from_word(name).is_some(), "`{name}` is no alert");
        }
    }
}
