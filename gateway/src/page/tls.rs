//! TLS of the page: version 1.3 alone, by `rustls` and `ring`, with a [key exchange](super::hybrid) that outlasts X25519.
//!
//! The key is made on the device at its first start, with a certificate that it signs itself; who takes the certificate for granted can't know whose it is, so its fingerprint is
//! logged at each start and shown by `glassgate status`. Certificate and key of others can take their place.

use crate::access::accounts::write;
use crate::config::{Page, read_bounded};
use crate::said::Said;
use anyhow::{Context as _, Result};
use data_encoding::{BASE64, HEXUPPER};
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// No certificate or key is longer.
const MAX_BYTES: u64 = 64 << 10;

/// What the page shows who it is with.
pub(crate) struct Identity {
    pub(crate) acceptor: TlsAcceptor,
    /// SHA-256 of the certificate, as browsers show it.
    pub(crate) fingerprint: String,
    /// Why it is not the one that was wanted.
    pub(crate) trouble: Option<Said>,
}

/// The certificate that is configured, or the gateway's own, which is made where there is none. One that can't be used does not keep the gateway from being looked at, and
/// the slow path from running: its own takes the place of a configured one, and a new one that of its own, which is set aside. Whoever knew the old fingerprint is
/// warned by the browser, and finds the reason in the log and among the troubles.
///
/// # Errors
///
/// No key can be made.
pub(crate) fn identity(page: &Page, names: &[String]) -> Result<Identity> {
    let mut trouble = None;
    if let Some((certificate, key)) = &page.certificate {
        match used(certificate, key) {
            Ok(identity) => return Ok(identity),
            Err(why) => {
                trouble = Some(Said::new(
                    format!(
                        "the certificate of `page.certificate` can't be used, the gateway shows its own: {why:#}"
                    ),
                    format!("`page.certificate` 的证书无法使用，改用网关自己的证书：{why:#}"),
                ));
            }
        }
    }
    let (certificate, key) = (page.dir.join("certificate.pem"), page.dir.join("key.pem"));
    if certificate.exists() || key.exists() {
        match used(&certificate, &key) {
            Ok(identity) => return Ok(Identity { trouble, ..identity }),
            Err(why) => {
                set_aside(&certificate);
                set_aside(&key);
                trouble = Some(Said::new(
                    format!(
                        "the page's certificate could not be used and was made anew, with another fingerprint: {why:#}"
                    ),
                    format!("页面证书无法使用，已重新生成，指纹已改变：{why:#}"),
                ));
            }
        }
    }
    let made = make(names).context("making the certificate of the page")?;
    if let Err(why) = made.keep(&certificate, &key) {
        // Good for this start.
        trouble = Some(Said::new(
            format!("the page's certificate can't be kept, the next start has another: {why:#}"),
            format!("页面证书无法保存，下次启动将更换：{why:#}"),
        ));
    }
    let identity = of(made.certificate.as_bytes(), made.key.as_bytes())?;
    Ok(Identity { trouble, ..identity })
}

/// Those of two files.
fn used(certificate: &Path, key: &Path) -> Result<Identity> {
    let read = |path: &Path| read_bounded(path, MAX_BYTES).with_context(|| path.display().to_string());
    let (chain, secret) = (read(certificate)?, read(key)?);
    of(&chain, &secret).with_context(|| format!("{} with {}", certificate.display(), key.display()))
}

fn of(certificate: &[u8], key: &[u8]) -> Result<Identity> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .context("the certificate is none")?;
    let first = chain.first().context("there is no certificate")?;
    let fingerprint = fingerprint(first);
    let key = PrivateKeyDer::from_pem_slice(key).context("there is no private key")?;
    let provider = Arc::new(super::hybrid::provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("certificate and key do not belong together")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity { acceptor: TlsAcceptor::from(Arc::new(config)), fingerprint, trouble: None })
}

/// What is damaged may be of use to whoever wants to know why; only the last of it is kept.
fn set_aside(path: &Path) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    // One that can't be moved is written over.
    _ = std::fs::rename(path, aside);
}

fn fingerprint(certificate: &[u8]) -> String {
    let pairs = digest(&SHA256, certificate);
    let pairs: Vec<String> = pairs.as_ref().iter().map(|byte| HEXUPPER.encode(&[*byte])).collect();
    pairs.join(":")
}

/// A key and its certificate, as PEM.
struct Made {
    certificate: String,
    key: String,
}

impl Made {
    fn keep(&self, certificate: &Path, key: &Path) -> Result<()> {
        if let Some(folder) = certificate.parent() {
            std::fs::create_dir_all(folder)?;
        }
        write(key, self.key.as_bytes())?;
        write(certificate, self.certificate.as_bytes())?;
        Ok(())
    }
}

/// A new key on P-256, and a certificate that it signs itself. It is good for a long time: nobody checks who it is but by its fingerprint.
fn make(names: &[String]) -> Result<Made> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = rcgen::CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "Glassgate");
    // The clock may stand anywhere at a first start.
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2049, 1, 1));
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let signed = params.self_signed(&pair)?;
    Ok(Made { certificate: pem("CERTIFICATE", signed.der()), key: pem("PRIVATE KEY", &pair.serialize_der()) })
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn page(dir: &Path) -> Page {
        Page { dir: dir.to_owned(), ..Page::default() }
    }

    #[test]
    fn made_once_for_its_owner_alone_and_different_on_each_device() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let names = ["10.9.0.2".to_owned(), "gateway.office.example".to_owned()];
        let made = identity(&page(a.path()), &names).unwrap().fingerprint;
        assert_eq!(made.len(), 32 * 3 - 1);
        assert_eq!(identity(&page(a.path()), &[]).unwrap().fingerprint, made, "it is kept");
        assert_ne!(identity(&page(b.path()), &names).unwrap().fingerprint, made);
        for file in ["key.pem", "certificate.pem"] {
            let mode = std::fs::metadata(a.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn one_that_is_damaged_is_made_anew_and_that_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut last = identity(&page(dir.path()), &[]).unwrap().fingerprint;
        let file = |name: &str| dir.path().join(name);
        let half = |name: &str| {
            let bytes = std::fs::read(file(name)).unwrap();
            std::fs::write(file(name), &bytes[..bytes.len() / 2]).unwrap();
        };
        let other = tempfile::tempdir().unwrap();
        identity(&page(other.path()), &[]).unwrap();
        let damages: [&dyn Fn(); 7] = [
            &|| half("certificate.pem"),
            &|| half("key.pem"),
            &|| std::fs::write(file("key.pem"), "").unwrap(),
            &|| std::fs::write(file("certificate.pem"), [0xff; 4096]).unwrap(),
            &|| std::fs::write(file("certificate.pem"), vec![b'-'; 1 << 20]).unwrap(),
            &|| std::fs::remove_file(file("certificate.pem")).unwrap(),
            &|| _ = std::fs::copy(other.path().join("key.pem"), file("key.pem")).unwrap(),
        ];
        for (n, damage) in damages.iter().enumerate() {
            damage();
            let made = identity(&page(dir.path()), &[]).unwrap();
            assert!(made.trouble.is_some_and(|said| said.en.contains("another fingerprint")), "{n}");
            assert_ne!(made.fingerprint, last, "{n}");
            let again = identity(&page(dir.path()), &[]).unwrap();
            assert_eq!((again.trouble, &again.fingerprint), (None, &made.fingerprint), "{n}");
            last = made.fingerprint;
        }
        assert!(file("key.pem.damaged").exists());
    }

    #[test]
    fn where_a_configured_one_can_not_be_used_its_own_is_shown() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = identity(&page(a.path()), &[]).unwrap().fingerprint;
        let theirs = identity(&page(b.path()), &[]).unwrap().fingerprint;
        let with = |certificate: &Path, key: &Path| Page {
            certificate: Some((certificate.join("certificate.pem"), key.join("key.pem"))),
            ..page(a.path())
        };
        let used = identity(&with(b.path(), b.path()), &[]).unwrap();
        assert_eq!((used.fingerprint, used.trouble), (theirs, None));
        let mixed = identity(&with(b.path(), a.path()), &[]).unwrap();
        assert_eq!(mixed.fingerprint, own);
        assert!(mixed.trouble.is_some_and(|said| said.en.contains("do not belong together")));
    }

    #[test]
    fn one_that_can_not_be_kept_is_good_for_this_start() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let made = identity(&page(&dir.path().join("file/below")), &[]).unwrap();
        assert!(made.trouble.is_some_and(|said| said.en.contains("can't be kept")));
    }
}
