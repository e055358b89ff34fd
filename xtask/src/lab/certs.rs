//! A certificate authority for one run, and a certificate for each name of the lab's Internet.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Answers each server name with its certificate, and one without a name with the first.
pub struct Certificates {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    fallback: Arc<CertifiedKey>,
    /// The authority's certificate, for the clients.
    pub ca_pem: String,
}

impl Certificates {
    /// Makes an authority and signs a certificate for each of `names`, of which there must be one.
    pub fn make(names: &[&str]) -> Result<Self> {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        ca.distinguished_name.push(DnType::CommonName, "Glassgate lab, this run only");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let mut by_name = HashMap::new();
        for name in names {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new([(*name).to_owned()])?.signed_by(&key, &ca)?;
            let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let signing = rustls::crypto::ring::sign::any_supported_type(&private)?;
            let certified = CertifiedKey::new(vec![certificate.der().clone()], signing);
            by_name.insert((*name).to_owned(), Arc::new(certified));
        }
        let fallback = names.first().and_then(|name| by_name.get(*name)).context("no name to certify")?;
        Ok(Self { fallback: Arc::clone(fallback), ca_pem: ca.pem(), by_name })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name() {
            Some(name) => self.by_name.get(name).cloned(),
            None => Some(Arc::clone(&self.fallback)),
        }
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("names", &self.by_name.keys()).finish_non_exhaustive()
    }
}
