//! Codes in plain words of both languages, for people who did not write the gateway.

use super::lang::Lang;
use glassgate_policy::{Evidence, Reason, Unobserved};

/// How a name is known.
pub(super) fn evidence(word: &str, lang: Lang) -> &'static str {
    match Evidence::from_word(word) {
        Some(Evidence::Sni) => lang.say("TLS server name", "TLS 服务器名称"),
        Some(Evidence::QuicSni) => lang.say("QUIC server name", "QUIC 服务器名称"),
        Some(Evidence::HttpHost) => lang.say("HTTP host", "HTTP 主机"),
        Some(Evidence::Dns) => lang.say("DNS question", "DNS 查询"),
        Some(Evidence::DnsHint) => lang.say("earlier DNS answer", "此前的 DNS 应答"),
        Some(Evidence::Address) => lang.say("address only", "仅地址"),
        Some(Evidence::None) | None => lang.say("not known", "未知"),
    }
}

/// Why a flow was not observed.
pub(super) fn unobserved(word: &str, lang: Lang) -> &'static str {
    match Unobserved::from_word(word) {
        Some(Unobserved::NotCovered) => lang.say("no purpose covers them", "没有目的涵盖"),
        Some(Unobserved::NoCharter) => lang.say("no charter is in force", "没有生效的章程"),
        Some(Unobserved::PrivateDevice) => {
            lang.say("of private devices, guests and exempt people", "私人设备、访客与豁免人员")
        }
        Some(Unobserved::OffHours) => {
            lang.say("outside of the hours that the charter names", "不在章程规定的时段内")
        }
        Some(Unobserved::Undecided) => {
            lang.say("the clock or the calendar can't be relied on", "时钟或日历不可信")
        }
        Some(Unobserved::Decayed) => lang.say("the verdicts ran out", "判定已过期"),
        Some(Unobserved::Bypass) => lang.say("the bypass was on", "旁路已开启"),
        None => lang.say("for another reason", "其他原因"),
    }
}

/// Why a flow has no name.
pub(super) fn reason(word: &str, lang: Lang) -> &'static str {
    match Reason::from_word(word) {
        Some(Reason::ReasmCap) => {
            lang.say("its beginning is longer than what is put together", "开头过长，超出重组上限")
        }
        Some(Reason::ReasmTimeout) => {
            lang.say("a gap in its beginning was never filled", "开头有缺口，未能补齐")
        }
        Some(Reason::FragCap) => lang.say("more fragments than are kept", "分片过多"),
        Some(Reason::TinyFrag) => lang.say("the first fragment is too small", "首个分片过小"),
        Some(Reason::ExthdrCap) => lang.say("too many extension headers", "扩展头过多"),
        Some(Reason::Midstream) => lang.say("its beginning was not seen", "未见到开头"),
        Some(Reason::AmbiguousOverlap) => {
            lang.say("the same bytes were sent twice, differently", "同一段数据发送了两次且不同")
        }
        Some(Reason::AmbiguousDecoy) => lang.say("a segment looks made to deceive", "疑似伪装的报文段"),
        Some(Reason::MalformedL3) => lang.say("damaged IP header", "IP 头损坏"),
        Some(Reason::MalformedL4) => lang.say("damaged TCP, UDP or QUIC header", "TCP、UDP 或 QUIC 头损坏"),
        Some(Reason::MalformedTls) => lang.say("damaged TLS handshake", "TLS 握手损坏"),
        Some(Reason::MalformedSni) => lang.say("a server name that is no name", "服务器名称无效"),
        Some(Reason::MalformedHttp) => lang.say("damaged HTTP request", "HTTP 请求损坏"),
        Some(Reason::MalformedDns) => lang.say("damaged DNS message", "DNS 消息损坏"),
        Some(Reason::NoSni) => lang.say("TLS without a server name", "TLS 未带服务器名称"),
        Some(Reason::EchOuter) => lang.say("the name is encrypted (ECH)", "名称已加密（ECH）"),
        Some(Reason::QuicVersion) => lang.say("an unknown QUIC version", "未知的 QUIC 版本"),
        Some(Reason::QuicOffset) => lang.say("QUIC data too far ahead", "QUIC 数据偏移过大"),
        Some(Reason::QuicMigrated) => lang.say("a QUIC flow that moved here", "迁移而来的 QUIC 流"),
        Some(Reason::Tunnel) => lang.say("inside a tunnel that is not looked into", "位于不检视的隧道内"),
        Some(Reason::UnknownProto) => lang.say("no protocol that is known", "未知协议"),
        Some(Reason::TableFull) => lang.say("the flow table was full", "流表已满"),
        Some(Reason::SlowpathBusy) => lang.say("the slow path did not keep up", "慢路径未跟上"),
        Some(Reason::Bypass) => lang.say("the gateway was bypassed", "网关处于旁路"),
        Some(Reason::NoBuffer) => lang.say("no room to put its beginning together", "没有空间重组开头"),
        Some(Reason::NoPayload) => lang.say("the client sent nothing", "客户端未发送数据"),
        Some(Reason::InspectorPanic) => lang.say("a fault of the gateway itself", "网关自身故障"),
        #[allow(unreachable_patterns, reason = "reasons are added more often than this list is read")]
        Some(_) | None => lang.say("for another reason", "其他原因"),
    }
}

/// What a frame without a flow is.
pub(super) fn frame(word: &str, lang: Lang) -> String {
    let known = match word {
        "arp" => "ARP",
        "icmp" => "ICMP",
        "icmpv6" => "ICMPv6",
        "llc" => lang.say("LLC (spanning tree and the like)", "LLC（生成树等）"),
        "ethertype" => lang.say("other Ethernet protocols", "其他以太网协议"),
        "ip_protocol" => lang.say("other IP protocols", "其他 IP 协议"),
        "fragments" => lang.say("IP fragments", "IP 分片"),
        _ => return word.replace('_', " "),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_words_of_its_own_in_both_languages() {
        for (lang, none) in [(Lang::En, "for another reason"), (Lang::Zh, "其他原因")] {
            let mut seen = std::collections::HashSet::new();
            for r in Reason::ALL {
                assert!(seen.insert(reason(r.as_str(), lang)), "{r}: {}", reason(r.as_str(), lang));
                assert_ne!(reason(r.as_str(), lang), none);
            }
            for e in Evidence::ALL {
                assert!(seen.insert(evidence(e.as_str(), lang)), "{e}");
            }
            let mut seen = std::collections::HashSet::new();
            for u in Unobserved::ALL {
                assert!(
                    seen.insert(unobserved(u.as_str(), lang)) && unobserved(u.as_str(), lang) != none,
                    "{u}"
                );
            }
        }
    }
}
