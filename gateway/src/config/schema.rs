//! Every setting of `glassgate.toml`, once: its place, its default, its meaning.
//!
//! From this table come the structs that the file is read into, `glassgate config` and `docs/config.md`; a test
//! holds the last to it. Values are read as they stand, with their place in the file; [`super::Config`] checks them.

use serde::Deserialize;
use std::ops::Range;
use toml::Spanned;

/// A setting: what the file says, or the default.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    /// Bytes in the file; `None` when the default holds.
    pub(crate) span: Option<Range<usize>>,
}

/// A table of the file, for documentation.
pub(crate) struct Section {
    /// Its name in brackets.
    pub(crate) name: &'static str,
    /// What it is for, a line each.
    pub(crate) doc: &'static [&'static str],
    /// Whether there may be any number of them, none by default.
    pub(crate) is_list: bool,
    /// Its settings, in order.
    pub(crate) fields: Vec<Field>,
}

/// A setting, for documentation.
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it means: unit, effect, bounds; a line each.
    pub(crate) doc: &'static [&'static str],
    /// Its default, as TOML.
    pub(crate) default: String,
}

macro_rules! sections {
    (
        $($(#[doc = $sdoc:literal])* [$section:ident] { $($(#[doc = $fdoc:literal])* $field:ident: $type:ty = $default:expr;)+ })+
        lists
        $($(#[doc = $ldoc:literal])* [[$list:ident]] { $($(#[doc = $ifdoc:literal])* $ifield:ident: $itype:ty = $idefault:expr;)+ })+
    ) => {
        mod raw {
            use super::*;
            $(
                #[allow(non_camel_case_types, reason = "named as the table of the file")]
                #[derive(Debug, Default, Deserialize)]
                #[serde(deny_unknown_fields, default)]
                pub(crate) struct $section { $(pub(crate) $field: Option<Spanned<$type>>,)+ }
            )+
            $(
                #[allow(non_camel_case_types, reason = "named as the table of the file")]
                #[derive(Debug, Default, Deserialize)]
                #[serde(deny_unknown_fields, default)]
                pub(crate) struct $list { $(pub(crate) $ifield: Option<Spanned<$itype>>,)+ }
            )+
        }

        /// The file as it stands.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct Raw { $($section: raw::$section,)+ $($list: Vec<Spanned<raw::$list>>,)+ }

        $(
            #[allow(non_camel_case_types, reason = "named as the table of the file")]
            #[derive(Clone, Debug)]
            pub(crate) struct $section { $(pub(crate) $field: Setting<$type>,)+ }
        )+
        $(
            #[allow(non_camel_case_types, reason = "named as the table of the file")]
            #[derive(Clone, Debug)]
            pub(crate) struct $list {
                /// The whole table.
                pub(crate) all: Setting<()>,
                $(pub(crate) $ifield: Setting<$itype>,)+
            }
        )+

        /// The file with all defaults filled in.
        #[derive(Clone, Debug)]
        pub(crate) struct Filled { $(pub(crate) $section: $section,)+ $(pub(crate) $list: Vec<$list>,)+ }

        impl Raw {
            pub(crate) fn fill(self) -> Filled {
                Filled {
                    $($section: $section { $($field: fill(self.$section.$field, || $default),)+ },)+
                    $($list: self.$list.into_iter().map(|table| {
                        let all = Setting { value: (), span: Some(table.span()) };
                        let table = table.into_inner();
                        $list { all, $($ifield: fill(table.$ifield, || $idefault),)+ }
                    }).collect(),)+
                }
            }
        }

        /// All settings, in the order of the documentation.
        pub(crate) fn sections() -> Vec<Section> {
            vec![$(Section {
                name: stringify!($section),
                is_list: false,
                doc: &[$($sdoc),*],
                fields: vec![$({
                    let default: $type = $default;
                    Field { name: stringify!($field), doc: &[$($fdoc),*], default: as_toml(&default) }
                }),+],
            },)+ $(Section {
                name: stringify!($list),
                is_list: true,
                doc: &[$($ldoc),*],
                fields: vec![$({
                    let default: $itype = $idefault;
                    Field { name: stringify!($ifield), doc: &[$($ifdoc),*], default: as_toml(&default) }
                }),+],
            },)+]
        }
    };
}

fn fill<T>(read: Option<Spanned<T>>, default: impl FnOnce() -> T) -> Setting<T> {
    match read {
        Some(read) => Setting { span: Some(read.span()), value: read.into_inner() },
        None => Setting { value: default(), span: None },
    }
}

fn as_toml<T: serde::Serialize>(value: &T) -> String {
    toml::Value::try_from(value).map(|v| v.to_string()).unwrap_or_default()
}

sections! {
    /// The two ports of the bridge. A device is one of:
    ///
    /// * `pci:0000:03:00.0`: a network card bound to `vfio-pci` or `uio_pci_generic`, driven by DPDK;
    /// * `af_xdp:eth1`, `af_packet:eth1`: a kernel interface, driven by DPDK through XDP or packet sockets;
    /// * `tap:gg0`: a tap interface that DPDK makes;
    /// * `null`, `ring`, `vdev:ARGUMENTS`: virtual devices of DPDK, for measurements;
    /// * `socket:/run/a.sock`: a frame per datagram on a Unix socket (tests, virtual machines); needs no root and no DPDK.
    [ports] {
        /// The port towards the LAN: its hosts are the clients. Empty: none, `run` refuses to start.
        lan: String = String::new();
        /// The port towards the uplink. Empty: none, `run` refuses to start.
        uplink: String = String::new();
        /// Whether a port that loses its link takes the other one down, so that both neighbours learn that there is no way through. For `af_xdp` and `af_packet`; a link counts as lost after half a second, and a port that was set up has 8 seconds to get one.
        propagate_link: bool = false;
    }

    /// The fast path.
    [dataplane] {
        /// CPUs that run an lcore each, 1 to 32 of them. An lcore is pinned to its CPU and takes all of it. Where a port has fewer queues than that, or can't bring both directions of a flow to one (`af_xdp`, `tap`, `socket`, cards without RSS), the first only distributes frames among the others: two CPUs are then hardly better than one, three are.
        lcores: Vec<u32> = vec![1];
        /// Flows that each lcore can hold at the same time, 1024 to 16777216. When the table is full, new flows are forwarded and counted as `table_full`.
        flows: u32 = 1 << 20;
        /// Flows of each lcore whose first bytes are being put together at the same time, 64 to 1048576. When there is no slot, the flow is counted as `no_buffer`.
        inspections: u32 = 8192;
        /// Events that fit into the ring between each lcore and the control process: a power of two, 64 to 1048576. When it is full, events are lost and counted by kind; frames are not.
        event_ring: u32 = 16384;
        /// Whether DPDK takes its memory from huge pages. Without them forwarding costs about twice as much.
        huge_pages: bool = true;
        /// Memory for DPDK, MiB, 64 to 65536.
        memory_mib: u32 = 512;
        /// Microseconds an lcore sleeps when no frame has arrived for a while, 0 to 1000. 0: it never sleeps, which gives the least delay and takes the whole CPU.
        idle_sleep_us: u32 = 0;
    }

    /// What services are recognized by.
    [signatures] {
        /// A folder of signature sources (`*.tsv`), or one file. Relative to this file. Empty: the signatures that come with the gateway.
        path: String = String::new();
        /// Names that never count, with all below them: your own domains, and your tenants at applicant tracking systems, such as `acme.example` and `acme.mokahr.com`. A host that tenants share by path, such as `app.mokahr.com`, must be named whole if you are one of them.
        exclude: Vec<String> = Vec::new();
        /// The folder where accepted versions of subscribed lists are kept. Relative to this file. It is made if it is missing.
        state: String = "/var/lib/glassgate/lists".to_owned();
        /// A compiled and signed pack (`glassgate pack build`), in place of `path`, `exclude` and subscriptions, which it holds compiled. Relative to this file. Empty: none.
        pack: String = String::new();
        /// Public keys of which one must have signed the pack, each `ed25519:` and 64 hexadecimal digits.
        trusted_keys: Vec<String> = Vec::new();
        /// The lowest serial of a pack that is accepted: older ones are refused, whoever signed them.
        pack_floor: u32 = 0;
    }

    /// What happens to flows, and what may be observed.
    [rules] {
        /// The rules file. Relative to this file. Empty: no rules, everything is forwarded and observed as the charter allows.
        path: String = String::new();
        /// Seconds after which the fast path stops using verdicts that the control process has not renewed, 5 to 3600: it then forwards everything and observes nothing.
        valid_for_s: u32 = 60;
    }

    /// The charter: what may be observed, by what right. `glassgate charter install` hands one to the running gateway.
    [charter] {
        /// Public keys of the people who may approve a charter, 64 hexadecimal digits each. A charter with an approver whose key is not listed is refused. Empty: no charter can be installed.
        keys: Vec<String> = Vec::new();
        /// The folder that keeps the installed charter. Relative to this file. It is made if it is missing.
        dir: String = "/var/lib/glassgate/charter".to_owned();
        /// What is observed while no charter is installed: `counts` of the whole network by service, without groups and devices, or `none`. A charter that is installed and not in force always means none.
        without: String = "counts".to_owned();
    }

    /// Whose device is behind an address. Addresses are learnt from the ARP, neighbour discovery and DHCP frames that pass;
    /// [who is known](identity.md) explains all of it.
    [identity] {
        /// The directory: a CSV file with the columns `subject,group,device,enrolled_by,enrolled`, or the same as JSON where its name ends with `.json`. Relative to this file. Empty: nobody is enrolled, so every device is private and under a charter nothing is observed.
        directory: String = String::new();
        /// A file with the token of whoever may say over HTTP who has an address: one line, 16 characters or more, for nobody else to read. Relative to this file. It is read when the gateway starts. Empty: nobody may.
        push_token: String = String::new();
    }

    /// RADIUS accounting (RFC 2866): access servers, or the RADIUS server behind them, say here who is logged in. What it
    /// protects packets with is weak: listen on a management network of its own.
    [radius] {
        /// UDP address and port, such as `10.9.0.2:1813`; the address that clients send to. Empty: nobody is listened to.
        listen: String = String::new();
        /// Seconds that a session counts without a sign of life, 60 to 86400: three times what access servers send interim updates at. Without interim updates, sessions end with it.
        session_s: u32 = 1800;
    }

    /// The audit log.
    [audit] {
        /// The folder that records are written to. Relative to this file. It is made if it is missing.
        dir: String = "/var/lib/glassgate/audit".to_owned();
        /// The name of the log in its checkpoints, such as `example.com/gateway-1`: no spaces, no plus signs. It is given when the log is made, with its key; a change later has no effect. Empty: a name that follows from the key.
        origin: String = String::new();
        /// A witness, which remembers how far the log was and signs that: `http://ADDRESS:PORT`, an address and not a name. Empty: nobody, and then nobody can show that the end of the log was not cut off.
        witness: String = String::new();
        /// The public key of the witness, as `glassgate witness` prints it.
        witness_key: String = String::new();
    }

    /// The rollup store: an index of the audit log, for reports and searches. It can be deleted while the gateway is stopped, and is
    /// built again from the log.
    [store] {
        /// The folder that it is in. Relative to this file. It is made if it is missing.
        dir: String = "/var/lib/glassgate/store".to_owned();
        /// MiB that it may take, 16 to 4096. The oldest hours are deleted to keep within it; the audit log keeps them.
        quota_mib: u32 = 128;
    }

    /// Reports that are written by themselves when a span is over, as a page and as comma-separated values: see [reports](reports.md).
    [reports] {
        /// How long each is about: `day`, `week` (from Monday) or `month`. Empty: none is written.
        every: String = String::new();
        /// The folder that they are written to. Relative to this file. It is made if it is missing.
        dir: String = "/var/lib/glassgate/reports".to_owned();
        /// How many are kept, 1 to 1000; the oldest are deleted.
        keep: u32 = 60;
        /// The language of the page: `en` or `zh`.
        language: String = "en".to_owned();
        /// Whether the webhook of alerts is told of each. What it says is its name.
        announce: bool = false;
    }

    /// Alerts: from when on something is one, and who is told beside the page. Each is explained in [operations](operations.md).
    [alerts] {
        /// Frames lost in a minute, by hardware or because a port did not take them, from which on `frames_dropped` is raised, 1 to 1000000.
        dropped_frames: u32 = 1000;
        /// Logins refused in ten minutes, from which on `logins_failed` is raised, 1 to 1000000.
        failed_logins: u32 = 20;
        /// Days before its end from which on `charter_ends_soon` is raised, 0 to 365.
        charter_days: u32 = 30;
        /// Days without a new version of a subscribed list or the pack after which `list_old` is raised, 0 to 365. 0: never.
        list_days: u32 = 30;
        /// Alerts that are shown and not sent, by name.
        silent: Vec<String> = Vec::new();
        /// Where alerts are posted to as JSON, such as `https://hooks.office.example/glassgate`. `http` only to this machine. Empty: nowhere.
        webhook: String = String::new();
        /// Address and port of its host, such as `10.9.0.5:443`, where that is a name: the gateway asks no name server.
        webhook_address: String = String::new();
        /// A file with the secret that posts are signed with: one line, 16 characters or more, for nobody else to read. Relative to this file. It is read when the gateway starts. Required with a webhook.
        webhook_secret: String = String::new();
        /// Certificates of the authorities that its own must come from (PEM). Relative to this file. It is read when the gateway starts. Empty: those of the system, `/etc/ssl/certs/ca-certificates.crt`.
        webhook_authorities: String = String::new();
        /// A syslog server that gets alerts as RFC 5424, such as `udp:10.9.0.5:514` or `tcp:10.9.0.5:601`. Empty: none.
        syslog: String = String::new();
    }

    /// The page.
    [page] {
        /// Address and port of the management side. TLS and, from loopback alone, HTTP are spoken there; who asks in clear from elsewhere is sent to TLS.
        listen: String = "127.0.0.1:8480".to_owned();
        /// The folder of the accounts, and of the key and certificate that the gateway makes for itself. Relative to this file. It is made if it is missing.
        dir: String = "/var/lib/glassgate/page".to_owned();
        /// What else the page is asked for by: names or addresses, with a port where it is another. Requests for others are refused with 421; `localhost` and the address of `listen` are always good.
        names: Vec<String> = Vec::new();
        /// A certificate chain (PEM) in place of the one that the gateway makes for itself. Relative to this file. It is read when the gateway starts.
        certificate: String = String::new();
        /// Its private key (PEM). Relative to this file.
        key: String = String::new();
        /// A file with the token of whoever reads `/metrics`: one line, 16 characters or more, for nobody else to read. Relative to this file. It is read when the gateway starts. Empty: only who is logged in, and programs with an account.
        metrics_token: String = String::new();
        /// Whether whoever is on the machine itself may read `/metrics` without a token.
        metrics_open: bool = false;
        /// Where weaknesses are to be told, as `mailto:security@office.example` or `https://…`: for `/.well-known/security.txt`. Empty: there is none.
        contact: String = String::new();
    }

    /// The gateway's own address on the ports of the bridge, where there is no network for management alone: see
    /// [management](management.md). Without an address here the gateway answers nothing on these ports.
    [inband] {
        /// IPv4 address with prefix, such as `10.0.0.2/24`, in frames without a tag. Empty: none.
        address: String = String::new();
        /// IPv6 address with prefix, likewise; a link-local address comes with it. Empty: none.
        address6: String = String::new();
        /// The router to other networks, for `address`. Empty: only its own network is answered.
        gateway: String = String::new();
        /// The router to other networks, for `address6`; it may be link-local.
        gateway6: String = String::new();
        /// The VLAN in which the gateway has the addresses below, 1 to 4094. 0: none.
        vlan: u32 = 0;
        /// IPv4 address with prefix in that VLAN.
        vlan_address: String = String::new();
        /// IPv6 address with prefix in that VLAN.
        vlan_address6: String = String::new();
        /// The router to other networks in that VLAN, for `vlan_address`.
        vlan_gateway: String = String::new();
        /// The router to other networks in that VLAN, for `vlan_address6`.
        vlan_gateway6: String = String::new();
        /// Who is on the management side: frames in the VLAN (`vlan`), or frames without a tag that come in by one port (`lan`, `uplink`). Everybody else on these ports gets what is for the people on the LAN. `none`: that is everybody.
        management: String = "none".to_owned();
        /// TCP port of the page at these addresses.
        port: u32 = 8480;
        /// The hardware address, such as `02:00:5e:00:53:01`. Empty: a locally administered one that follows from `/etc/machine-id`.
        mac: String = String::new();
    }

    /// The command line's way in.
    [control] {
        /// The Unix socket of `glassgate status` and `glassgate reload`. Relative to this file. Its folder is made if it is missing; only the owner may connect.
        socket: String = "/run/glassgate/control.sock".to_owned();
    }

    /// The guard, which starts, watches and restarts the other processes.
    [guard] {
        /// Milliseconds without progress of an lcore after which the data plane counts as hung and is replaced, 20 to 60000.
        hang_ms: u32 = 1000;
        /// Milliseconds before the first restart of a process, 0 to 1000. Each further one within a minute doubles it, up to 2 seconds.
        restart_ms: u32 = 50;
        /// Seconds that the processes get to stop in order; then they are killed, 1 to 60.
        stop_s: u32 = 5;
        /// Whether somebody else forwards while the data plane can't: a kernel bridge named `glassgate0`, where both ports are `af_xdp` or `af_packet`, or the relays of a bypass card. It also forwards while the gateway is stopped. Frames that it forwards are not inspected, which is on record.
        fallback: bool = true;
        /// The file that switches the relays of a bypass card, of sysfs, procfs or a GPIO line. Relative to this file. Empty: none.
        relay: String = String::new();
        /// What is written to that file to connect both cables past the gateway.
        relay_bypass: String = "1".to_owned();
        /// What is written to it to put the gateway between them.
        relay_inline: String = "0".to_owned();
    }

    lists

    /// Who may send RADIUS accounting. Of several that hold an address, the first is the one.
    [[radius_client]] {
        /// An address or a network, such as `10.9.0.5` or `10.9.1.0/24`. Required.
        network: String = String::new();
        /// A file with the secret that is shared with it: one line, 16 characters or more, for nobody else to read. Relative to this file. It is read when the gateway starts. Required.
        secret: String = String::new();
    }

    /// A list of somebody else that adds names to the signatures. Something else fetches the file (a timer with `curl`, for
    /// example); the gateway reads it when it starts and at `glassgate reload`. A version that changes too much, or looks
    /// like another list, is held until somebody accepts it with `glassgate rules accept`; the version before stays in use.
    [[subscription]] {
        /// What it is called, and the key of its service: lower-case letters, digits, hyphens. Required.
        name: String = String::new();
        /// What people call the service. Empty: its name.
        title: String = String::new();
        /// The file; for `ut1` a folder with `domains`. Relative to this file. Required.
        path: String = String::new();
        /// `plain`, `hosts`, `adblock`, `dnsmasq`, `v2fly` or `ut1`. Required.
        format: String = String::new();
        /// What a name covers where the list does not say: `exact` or `suffix`. Empty: `exact` for `hosts`, else `suffix`.
        scope: String = String::new();
        /// What its names are for, such as `malware`. Required.
        category: String = String::new();
        /// Where it comes from, for those who ask why a name matched. Empty: its path.
        source: String = String::new();
        /// SPDX identifier of its licence. Required: lists have owners.
        licence: String = String::new();
        /// What becomes of the first version: `hold` until it is accepted, or `accept` if nothing else stands against it.
        first: String = "hold".to_owned();
        /// Whether its names are blocked without a rule, where its category is `malware` or `phishing`; of any other nothing is. A rule that matches them decides before that. `false`: they are only counted, as the charter allows.
        block: bool = true;
    }
}
