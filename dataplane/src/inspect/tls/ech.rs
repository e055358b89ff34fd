//! Encrypted ClientHello (RFC 9849): what of it shows.
//!
//! A client that knows the server's ECH configuration sends the public name of that configuration as outer SNI, and
//! the real name encrypted. A client that knows none may send the same extension with random content (GREASE ECH, which the
//! large browsers do on every flow) beside the real name. By design one hello alone does not tell the two apart: sizes,
//! cipher ids and `config_id` are drawn to look alike. Only the outer name does: it is the public name of a
//! provider that hides others behind it. So
//!
//! - the extension is reported with every field that stands in clear ([`EchSeen`]), and never makes a name disappear
//!   by itself;
//! - a hello with the extension and an outer name of the list below is [`super::ServerName::EchOuter`]: the site is
//!   hidden, and the name is the provider's;
//! - other public names can be learned where they stand in clear: in the `ech` parameter of a DNS HTTPS answer
//!   ([`configs`]). A flow whose outer name *and* `config_id` come from such an answer is real ECH.
//!
//! Price: a provider outside the list, whose DNS answers were not seen, is reported under its public name with the
//! label `ech`: a name of the provider, never of another site.

use glassgate_policy::Name;

use crate::inspect::bytes::Bytes;

/// Public names of deployed ECH configurations. All zones of Cloudflare share the first one, which makes it nearly all
/// of the ECH there is; the others are public test deployments.
pub const PUBLIC_NAMES: [&str; 3] = ["cloudflare-ech.com", "public.tls-ech.dev", "cover.defo.ie"];

/// The version of ECHConfig and the number of the extension (RFC 9849 sections 4 and 5).
const VERSION: u16 = 0xfe0d;
const OUTER: u8 = 0;
const INNER: u8 = 1;

/// What of ECH stands in clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EchSeen {
    /// No extension.
    #[default]
    None,
    /// The mark of an inner hello, which is meant to be seen inside the encryption only: a front server talks to
    /// the server behind it without any.
    Inner,
    /// The outer form, real or GREASE.
    Outer {
        /// Key derivation function id (1 is HKDF-SHA256).
        kdf: u16,
        /// Cipher id (1 AES-128-GCM, 2 AES-256-GCM, 3 ChaCha20-Poly1305).
        aead: u16,
        /// Which of the server's configurations; random with GREASE.
        config_id: u8,
        /// Bytes of the encapsulated key: 32 with X25519; 0 in the answer to a HelloRetryRequest.
        enc_len: u16,
        /// Bytes of the encrypted inner hello.
        payload_len: u16,
    },
    /// The extension is there and does not parse.
    Broken,
}

impl EchSeen {
    /// Whether the flow carries the label `ech`.
    pub fn is_seen(self) -> bool {
        self != Self::None
    }
}

/// One configuration out of an ECHConfigList.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which one; a client repeats it in its hello.
    pub config_id: u8,
    /// The name that clients show instead of the real one.
    pub public_name: Name,
}

/// Whether `name` is the public name of a known ECH deployment.
pub fn is_public_name(name: &Name) -> bool {
    PUBLIC_NAMES.iter().any(|public| public.as_bytes() == name.as_bytes())
}

/// The configurations of an ECHConfigList, as the `ech` parameter of a DNS HTTPS answer holds it (RFC 9848). Versions other
/// than RFC 9849's and broken entries are passed over; what follows a length that is too long is lost.
pub fn configs(list: &[u8]) -> impl Iterator<Item = Config> + '_ {
    let mut rest = Bytes::new(Bytes::new(list).vec16().unwrap_or_default());
    std::iter::from_fn(move || {
        loop {
            let (version, contents) = (rest.u16()?, rest.vec16()?);
            if version == VERSION
                && let Some(config) = config(contents)
            {
                return Some(config);
            }
        }
    })
}

fn config(contents: &[u8]) -> Option<Config> {
    let mut b = Bytes::new(contents);
    let config_id = b.u8()?;
    let _kem = b.u16()?;
    let _public_key = b.vec16()?;
    let _suites = b.vec16()?;
    let _maximum_name_length = b.u8()?;
    let public_name = Name::from_wire(b.vec8()?).ok()?;
    Some(Config { config_id, public_name })
}

/// Reads the extension of a hello.
pub(super) fn seen(data: &[u8]) -> EchSeen {
    let mut b = Bytes::new(data);
    let outer = |b: &mut Bytes<'_>| {
        let (kdf, aead, config_id) = (b.u16()?, b.u16()?, b.u8()?);
        let (enc, payload) = (b.vec16()?, b.vec16()?);
        let whole = b.is_empty() && !payload.is_empty();
        whole.then_some(EchSeen::Outer {
            kdf,
            aead,
            config_id,
            enc_len: enc.len() as u16,
            payload_len: payload.len() as u16,
        })
    };
    match b.u8() {
        Some(OUTER) => outer(&mut b).unwrap_or(EchSeen::Broken),
        Some(INNER) if b.is_empty() => EchSeen::Inner,
        _ => EchSeen::Broken,
    }
}
