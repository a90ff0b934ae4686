//! Webhooks and mails over TLS: whom they trust, and whom not.

#![allow(clippy::unwrap_used, reason = "a test's helpers are part of the test")]

use std::sync::Arc;
use std::time::Duration;

use claviger_courier::webhook::PostError;
use claviger_courier::{Authorities, AuthoritiesError, Courier, Mailer, Patience, Post, Reach, Target};
use claviger_domain::mail::Mail;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto};

/// An authority that nobody knows.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn trusted(&self) -> Authorities {
        Authorities::from_pem(format!("# Ours.\n{}", self.0.pem()).as_bytes()).unwrap()
    }

    /// A server's side of TLS, with a certificate of this name.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Reads lines until one of them is this, and returns all of it.
async fn read_until(stream: &mut (impl AsyncBufRead + Unpin), last: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(last) && stream.read_line(&mut text).await.unwrap() > 0 {}
    text
}

/// Takes a webhook.
async fn take_post(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut stream = BufReader::new(stream);
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n") && head.contains("webhook-id: evt_1\r\n"), "{head}");
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
}

/// Takes a mail.
async fn take_mail(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 fake\r\n").await.unwrap();
    loop {
        let line = read_until(&mut stream, "\r\n").await;
        let answer: &[u8] = match line.get(..4) {
            Some("DATA") => {
                stream.write_all(b"354 go on\r\n").await.unwrap();
                assert!(read_until(&mut stream, "\r\n.\r\n").await.contains("Subject: Hello"));
                b"250 taken\r\n"
            }
            Some("QUIT") | None => return,
            Some(_) => b"250 fine\r\n",
        };
        stream.write_all(answer).await.unwrap();
    }
}

/// A port at which whoever gets through the handshake is served once.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    acceptor: TlsAcceptor,
    serve: impl FnOnce(tokio_rustls::server::TlsStream<tokio::net::TcpStream>) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(stream) = acceptor.accept(stream).await {
            serve(stream).await;
        }
    });
    port
}

async fn post(acceptor: TlsAcceptor, trusted: &Authorities) -> Result<u16, PostError> {
    let port = serve(acceptor, take_post).await;
    let reach = Reach { allows_http: false, allows_private_networks: true };
    let target = Target::parse(&format!("https://localhost:{port}/hook"), reach).unwrap();
    let post = Post { id: "evt_1", seconds: 0, signature: "v1,x", body: "{}" };
    Courier::new(reach, Patience::default(), trusted).post(&target, post).await.map(|answer| answer.status)
}

async fn mail(acceptor: TlsAcceptor, trusted: &Authorities) -> Result<(), String> {
    let port = serve(acceptor, take_mail).await;
    let (url, from) = (format!("smtps://localhost:{port}").parse().unwrap(), "keys@example.com".parse().unwrap());
    let mailer = Mailer::smtp(&url, from, Duration::from_secs(10), trusted).unwrap();
    let mail = Mail::new("ada@example.com".parse().unwrap(), None, "Hello", "Ada").unwrap();
    mailer.send("mail_1", 0, &mail).await.map_err(|failure| failure.reason)
}

#[tokio::test]
async fn who_is_trusted_gets_webhooks_and_nobody_else() {
    let authority = Authority::new("ours");
    assert_eq!(post(authority.acceptor("localhost"), &authority.trusted()).await.unwrap(), 204);
    for (name, trusted, why) in [
        ("localhost", Authorities::default(), "UnknownIssuer"),
        ("localhost", Authority::new("theirs").trusted(), "UnknownIssuer"),
        ("other.example.com", authority.trusted(), "not valid for name"),
    ] {
        let refused = post(authority.acceptor(name), &trusted).await;
        assert!(matches!(&refused, Err(PostError::Tls(error)) if error.to_string().contains(why)), "{refused:?}");
    }
}

#[tokio::test]
async fn who_is_trusted_gets_mails_and_nobody_else() {
    let authority = Authority::new("ours");
    assert_eq!(mail(authority.acceptor("localhost"), &authority.trusted()).await, Ok(()));
    for (name, trusted) in [
        ("localhost", Authorities::default()),
        ("localhost", Authority::new("theirs").trusted()),
        ("other.example.com", authority.trusted()),
    ] {
        let refused = mail(authority.acceptor(name), &trusted).await;
        assert!(refused.is_err_and(|reason| reason.starts_with("no ")), "{name}");
    }
}

#[test]
fn what_is_no_certificate_is_not_trusted() {
    let pem = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let good = Authority::new("ours").0.pem();
    for (text, error) in [
        (String::new(), AuthoritiesError::None),
        (KeyPair::generate().unwrap().serialize_pem(), AuthoritiesError::None),
        (pem("!!!"), AuthoritiesError::Pem),
        ("-----BEGIN CERTIFICATE-----\nAAAA".to_owned(), AuthoritiesError::Pem),
        (format!("{good}{}", pem("AAAA")), AuthoritiesError::Certificate { number: 2 }),
    ] {
        assert_eq!(Authorities::from_pem(text.as_bytes()), Err(error), "{text}");
    }
    let two = Authorities::from_pem(format!("{good}{good}").as_bytes()).unwrap();
    assert_eq!(format!("{two:?}"), "Authorities(2 certificates)");
}
