//! The words of a charter in both languages, for people who did not write it.

use super::lang::Lang;

/// What it is for.
pub(crate) fn purpose(word: &str, lang: Lang) -> &str {
    match word {
        "security" => lang.say("Security: malware, phishing, intrusion", "安全：恶意软件、钓鱼、入侵"),
        "bandwidth" => lang.say("Bandwidth: capacity of the network", "带宽：网络容量"),
        "conduct" => lang.say("Conduct: rules at work", "行为：工作场所规则"),
        "recruitment" => lang.say("Recruitment: trends in looking for jobs", "招聘：求职趋势"),
        "leak" => lang.say("Leak: loss of data", "泄露：数据外泄"),
        other => other,
    }
}

/// What flows are for.
pub(super) fn category(word: &str, lang: Lang) -> String {
    let zh = match (lang, word) {
        (Lang::En, _) => return crate::control::title_of(word),
        (_, "unknown") => "不在任何列表",
        (_, "recruitment") => "招聘",
        (_, "recruitment_ats") => "招聘系统（投递）",
        (_, "recruiter_side") => "招聘方工具",
        (_, "dual_use") => "多用途",
        (_, "short_video") => "短视频",
        (_, "video") => "视频",
        (_, "music") => "音乐",
        (_, "shopping") => "购物",
        (_, "food_delivery") => "外卖",
        (_, "games") => "游戏",
        (_, "social") => "社交",
        (_, "messaging") => "即时通讯",
        (_, "news") => "新闻",
        (_, "cloud_storage") => "云存储",
        (_, "file_transfer") => "文件传输",
        (_, "tunnel") => "隧道",
        (_, "malware") => "恶意软件",
        (_, "phishing") => "钓鱼",
        (_, "ads") => "广告",
        (_, "work") => "办公",
        (_, "infrastructure") => "基础设施",
        (_, "protected_bank") => "受保护：银行",
        (_, "protected_health") => "受保护：健康",
        (_, "protected_union") => "受保护：工会",
        (_, "protected_lawyer") => "受保护：律师",
        (_, "protected_faith") => "受保护：信仰",
        (_, "protected_sexual") => "受保护：性",
        (_, other) => other,
    };
    zh.to_owned()
}

/// By what right.
pub(super) fn basis(word: &str, lang: Lang) -> &str {
    match word {
        "consent" => lang.say("consent", "同意"),
        "contract" => lang.say("a contract", "合同所必需"),
        "labour_rules" => lang.say("labour rules", "劳动规章制度"),
        "collective_agreement" => lang.say("a collective agreement", "集体合同"),
        "legal_duty" => lang.say("a legal duty", "法定义务"),
        other => other,
    }
}

/// How much.
pub(super) fn level(word: &str, lang: Lang) -> &str {
    match word {
        "none" => lang.say("nothing", "不记录"),
        "aggregate" => lang.say("counts of groups", "部门计数"),
        "sealed" => lang.say("sealed records", "封存记录"),
        other => other,
    }
}

/// Where a charter stands.
pub(super) fn standing(word: &str, lang: Lang) -> &str {
    match word {
        "in_force" => lang.say("in force", "生效中"),
        "absent" => lang.say("no charter is installed", "未安装章程"),
        "not_valid" => lang.say("can't be used", "无法使用"),
        "revoked" => lang.say("revoked", "已撤销"),
        "not_yet" => lang.say("not in force yet", "尚未生效"),
        "expired" => lang.say("expired", "已过期"),
        "clock_not_trusted" => {
            lang.say("installed, but the clock can't be relied on", "已安装，但时钟不可信")
        }
        other => other,
    }
}

/// Where a purpose or a calendar stands.
pub(crate) fn state(word: &str, lang: Lang) -> &str {
    match word {
        "open" => lang.say("open now", "现在开放"),
        "closed" => lang.say("closed now", "现在关闭"),
        "undecided" => lang.say("undecided: nothing is observed", "无法判定：不观察"),
        "notice_not_given" => lang.say("people were not told yet", "尚未告知"),
        "ended" => lang.say("over", "已结束"),
        other => other,
    }
}

/// Whose voice it is.
pub(super) fn role(word: &str, lang: Lang) -> &str {
    match word {
        "controller" => lang.say("controller", "个人信息处理者"),
        "human_resources" => lang.say("human resources", "人力资源"),
        "data_protection_officer" => lang.say("data-protection officer", "个人信息保护负责人"),
        "works_council" => lang.say("works council or union", "工会 / 职工代表"),
        other => other,
    }
}

/// Why nothing is written about a device.
pub(super) fn why_not(word: &str, lang: Lang) -> &str {
    match word {
        "not_covered" => lang.say(
            "no purpose of the charter covers what your group does",
            "章程中没有任何目的涵盖您所在的部门",
        ),
        "no_charter" => lang.say("no charter is in force", "没有生效的章程"),
        "private_device" => lang.say(
            "this device is private, a guest's, exempt or not known",
            "本设备属于私人、访客、豁免或未登记设备",
        ),
        "off_hours" => {
            lang.say("it is outside of the hours that the charter names", "现在不在章程规定的时段内")
        }
        "undecided" => {
            lang.say("the clock or the calendar can't be relied on right now", "时钟或日历目前不可信")
        }
        "decayed" => lang.say("the verdicts ran out", "判定已过期"),
        "bypass" => lang.say("the gateway is bypassed: everything is only forwarded", "网关处于旁路：仅转发"),
        "notice_not_read" => lang.say("the notice has not been read on this device", "本设备尚未阅读告知书"),
        other => other,
    }
}

/// A day of the week, Monday first.
pub(super) fn weekday(at: usize, lang: Lang) -> &'static str {
    let [en, zh] = match at {
        0 => ["Mon", "周一"],
        1 => ["Tue", "周二"],
        2 => ["Wed", "周三"],
        3 => ["Thu", "周四"],
        4 => ["Fri", "周五"],
        5 => ["Sat", "周六"],
        _ => ["Sun", "周日"],
    };
    lang.say(en, zh)
}

/// Who forwards when no fast path can.
pub(super) fn forwarder(word: &str, lang: Lang) -> String {
    match word {
        "kernel_bridge" => lang.say("bridge of the kernel", "内核网桥"),
        "relay" => lang.say("bypass card", "旁路卡"),
        "nobody" => lang.say("none", "无"),
        _ => word,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use glassgate_policy::charter::{Basis, PurposeStanding, Role, Standing};
    use glassgate_policy::{Category, ObservationLevel, Purpose, Unobserved};

    #[test]
    fn every_word_of_a_charter_is_said_in_both_languages() {
        for word in Category::ALL.iter().map(|word| word.as_str()) {
            assert!(!category(word, Lang::Zh).is_ascii(), "{word}");
        }
        type Say = fn(&str, Lang) -> &str;
        let words: [(Say, Vec<&str>); 7] = [
            (purpose, Purpose::ALL.iter().map(|w| w.as_str()).collect()),
            (basis, Basis::ALL.iter().map(|w| w.as_str()).collect()),
            (level, ObservationLevel::ALL.iter().map(|w| w.as_str()).collect()),
            (standing, Standing::ALL.iter().map(|w| w.as_str()).collect()),
            (state, PurposeStanding::ALL.iter().map(|w| w.as_str()).collect()),
            (role, Role::ALL.iter().map(|w| w.as_str()).collect()),
            (why_not, Unobserved::ALL.iter().map(|w| w.as_str()).collect()),
        ];
        for (say, words) in words {
            let mut seen = std::collections::HashSet::new();
            for word in words {
                let [en, zh] = [Lang::En, Lang::Zh].map(|lang| say(word, lang));
                assert!(en != zh && !zh.is_ascii() && !en.contains('_'), "{word}: {en}, {zh}");
                assert!(seen.insert(zh), "{word}: {zh}");
            }
        }
    }
}
