//! Mails: into a folder, and to SMTP servers that take them, refuse them and hang.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use claviger_app::{Actor, AppError};
use claviger_courier::{Authorities, Mailer};
use claviger_domain::id::MailId;
use claviger_domain::webhook::DeliveryState;
use claviger_store::mails::{self, MailRow};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::suite::support::{Deployment, commit};

async fn send(deployment: &Deployment) -> MailId {
    commit(deployment.app.send_test_mail(&Actor::operator(), "ada@example.com".parse().unwrap())).await.unwrap().value
}

async fn row(deployment: &Deployment, id: MailId) -> MailRow {
    let store = deployment.close().await;
    let row = mails::find(&mut store.read().await.unwrap(), id).await.unwrap().unwrap();
    store.close().await;
    row
}

/// How an SMTP server behaves.
#[derive(Clone, Copy)]
enum Manner {
    Takes,
    /// Refuses the recipient for ever.
    Refuses,
    /// Accepts the connection and says nothing.
    Hangs,
    /// Takes it the second time only.
    TakesLater,
}

/// An SMTP server on a free port, and the mails that it took.
async fn smtp(manner: Manner) -> (Mailer, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap()).parse().unwrap();
    let taken = Arc::<Mutex<Vec<String>>>::default();
    let shared = Arc::clone(&taken);
    tokio::spawn(async move {
        for connection in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(talk(BufReader::new(stream), manner, connection, Arc::clone(&shared)));
        }
    });
    let mailer = Mailer::smtp(
        &url,
        "Keys <keys@example.com>".parse().unwrap(),
        Duration::from_millis(500),
        &Authorities::default(),
    )
    .unwrap();
    (mailer, taken)
}

async fn talk(
    mut stream: BufReader<TcpStream>,
    manner: Manner,
    connection: usize,
    taken: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut line = String::new();
    if matches!(manner, Manner::Hangs) {
        stream.read_line(&mut line).await.ok()?;
        return None;
    }
    stream.write_all(b"220 fake\r\n").await.ok()?;
    loop {
        line.clear();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let word = line.split([' ', '\r']).next().unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match (word.as_str(), manner) {
            ("RCPT", Manner::Refuses) => b"550 no such user\r\n",
            ("RCPT", Manner::TakesLater) if connection == 0 => b"451 later\r\n",
            ("DATA", _) => {
                stream.write_all(b"354 go on\r\n").await.ok()?;
                let mut mail = String::new();
                while !mail.ends_with("\r\n.\r\n") {
                    stream.read_line(&mut mail).await.ok()?;
                }
                taken.lock().unwrap().push(mail);
                b"250 taken\r\n"
            }
            ("QUIT", _) => b"221 bye\r\n",
            _ => b"250 fine\r\n",
        };
        stream.write_all(answer).await.ok()?;
    }
}

#[tokio::test]
async fn without_an_smtp_server_mails_are_files_for_their_owner() {
    let deployment = Deployment::start().await;
    let refused = commit(deployment.app.send_test_mail(&Actor::operator(), "ada@example.com".parse().unwrap())).await;
    assert!(matches!(refused, Err(AppError::Unavailable { .. })), "nothing is accepted before it can be sent");
    deployment.set_up_delivery(None);
    let id = send(&deployment).await;
    assert_eq!(deployment.app.run_due().await.unwrap(), 1);
    assert_eq!(deployment.app.run_due().await.unwrap(), 0);
    let folder = deployment.mail_folder();
    let file = folder.join(format!("{id}.eml"));
    let text = std::fs::read_to_string(&file).unwrap();
    for line in ["To: ada@example.com", "From: keys@example.com", "Subject: Claviger can send mail", "This is a test."]
    {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains(&format!("Message-ID: <{id}@example.com>")), "{text}");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&folder)), (0o600, 0o700));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing half written is left");
    let row = row(&deployment, id).await;
    assert_eq!((row.state, row.content, row.attempts), (DeliveryState::Delivered, None, 1));
}

#[tokio::test]
async fn a_mail_that_waits_is_not_in_the_database_in_clear_and_goes_after_a_restart() {
    let mut deployment = Deployment::start().await;
    deployment.set_up_delivery(None);
    let id = send(&deployment).await;
    let waiting = row(&deployment, id).await;
    let content = waiting.content.unwrap();
    for clear in ["ada@example.com", "Claviger can send", "This is a test"] {
        assert!(!content.windows(clear.len()).any(|window| window == clear.as_bytes()), "{clear}");
    }
    deployment.restart().await;
    let (mailer, taken) = smtp(Manner::Takes).await;
    deployment.set_up_delivery(Some(mailer));
    assert_eq!(deployment.app.run_due().await.unwrap(), 1);
    assert!(taken.lock().unwrap()[0].contains("ada@example.com"));
}

#[tokio::test]
async fn an_smtp_server_that_takes_it_later_gets_it_under_the_same_id() {
    let deployment = Deployment::start().await;
    let (mailer, taken) = smtp(Manner::TakesLater).await;
    deployment.set_up_delivery(Some(mailer));
    let id = send(&deployment).await;
    assert_eq!(deployment.app.run_due().await.unwrap(), 1);
    assert_eq!(taken.lock().unwrap().len(), 0);
    assert_eq!(deployment.app.run_due().await.unwrap(), 0, "not before its time");
    deployment.clock.advance_seconds(6);
    assert_eq!(deployment.app.run_due().await.unwrap(), 1);
    let mails = taken.lock().unwrap().clone();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].contains(&format!("<{id}@example.com>")), "{}", mails[0]);
    assert_eq!(row(&deployment, id).await.state, DeliveryState::Delivered);
}

#[tokio::test]
async fn an_smtp_server_that_hangs_is_given_up_for_now() {
    let deployment = Deployment::start().await;
    let (mailer, _) = smtp(Manner::Hangs).await;
    deployment.set_up_delivery(Some(mailer));
    let id = send(&deployment).await;
    assert_eq!(deployment.app.run_due().await.unwrap(), 1);
    let row = row(&deployment, id).await;
    assert_eq!((row.state, row.attempts), (DeliveryState::Pending, 1));
    assert_eq!(row.reason.as_deref(), Some("the SMTP server did not answer in time"));
    assert!(row.next_at > Some(deployment.app.now()));
}

#[tokio::test]
async fn a_mail_that_nobody_will_ever_take_is_given_up_at_once() {
    let deployment = Deployment::start().await;
    let (mailer, taken) = smtp(Manner::Refuses).await;
    deployment.set_up_delivery(Some(mailer));
    let id = send(&deployment).await;
    assert_eq!(deployment.app.run_due().await.unwrap(), 1);
    let row = row(&deployment, id).await;
    assert_eq!((row.state, row.next_at, row.content), (DeliveryState::Failed, None, None));
    assert_eq!(row.reason.as_deref(), Some("the SMTP server answered 550"));
    assert!(taken.lock().unwrap().is_empty());
}

#[tokio::test]
async fn under_another_key_a_mail_is_given_up_and_others_are_not() {
    let mut deployment = Deployment::start().await;
    deployment.set_up_delivery(None);
    let lost = send(&deployment).await;
    deployment.restart().await;
    deployment.set_up_delivery_under([8; 32]);
    let sent = send(&deployment).await;
    assert_eq!(deployment.app.run_due().await.unwrap(), 2);
    assert!(deployment.mail_folder().join(format!("{sent}.eml")).exists());
    assert_eq!(row(&deployment, lost).await.state, DeliveryState::Failed);
}
