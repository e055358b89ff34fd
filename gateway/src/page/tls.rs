//! TLS of the page: version 1.3 alone, by `rustls` and `ring`, with a [key exchange](super::hybrid) that outlasts X25519.
//!
//! The key is made on the device at its first start, with a certificate that it signs itself; who takes the certificate for granted can't know whose it is, so its fingerprint is
//! logged at each start and shown by `glassgate status`. Certificate and key of others can take their place.

use crate::access::accounts::write;
use crate::config::{Page, read_bounded};
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
}

/// Reads certificate and key, or makes them.
pub(crate) fn identity(page: &Page, names: &[String]) -> Result<Identity> {
    let (certificate, key) = match &page.certificate {
        Some(files) => files.clone(),
        None => {
            let files = (page.dir.join("certificate.pem"), page.dir.join("key.pem"));
            if !files.0.exists() || !files.1.exists() {
                make(&files.0, &files.1, names).context("making the certificate of the page")?;
            }
            files
        }
    };
    let read = |path: &Path| read_bounded(path, MAX_BYTES).with_context(|| path.display().to_string());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(&certificate)?)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{}: this is no certificate", certificate.display()))?;
    let first =
        chain.first().with_context(|| format!("{}: there is no certificate in it", certificate.display()))?;
    let fingerprint = fingerprint(first);
    let key = PrivateKeyDer::from_pem_slice(&read(&key)?)
        .with_context(|| format!("{}: there is no private key in it", key.display()))?;
    let provider = Arc::new(super::hybrid::provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("certificate and key of the page do not belong together")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity { acceptor: TlsAcceptor::from(Arc::new(config)), fingerprint })
}

fn fingerprint(certificate: &[u8]) -> String {
    let pairs = digest(&SHA256, certificate);
    let pairs: Vec<String> = pairs.as_ref().iter().map(|byte| HEXUPPER.encode(&[*byte])).collect();
    pairs.join(":")
}

/// A new key on P-256, and a certificate that it signs itself. It is good for a long time: nobody checks who it is but by its fingerprint.
fn make(certificate: &Path, key: &Path, names: &[String]) -> Result<()> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = rcgen::CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "Glassgate");
    // The clock may stand anywhere at a first start.
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2049, 1, 1));
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let signed = params.self_signed(&pair)?;
    if let Some(folder) = certificate.parent() {
        std::fs::create_dir_all(folder)?;
    }
    write(key, pem("PRIVATE KEY", &pair.serialize_der()).as_bytes())?;
    write(certificate, pem("CERTIFICATE", signed.der()).as_bytes())?;
    Ok(())
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
    fn what_does_not_belong_together_is_refused() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        identity(&page(a.path()), &[]).unwrap();
        identity(&page(b.path()), &[]).unwrap();
        let mixed = Page {
            certificate: Some((a.path().join("certificate.pem"), b.path().join("key.pem"))),
            ..page(a.path())
        };
        assert!(identity(&mixed, &[]).is_err());
        std::fs::write(a.path().join("key.pem"), "nonsense").unwrap();
        assert!(identity(&page(a.path()), &[]).is_err());
    }
}
