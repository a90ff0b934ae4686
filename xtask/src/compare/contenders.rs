//! Who is compared, how each is installed and started, and what each is asked.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::server::{Server, exchange, free_port};
use super::{ENVOY, NGINX};
use crate::needs;
use crate::shell::{CommandLine, root};

/// Where all of them are asked.
pub(super) const PATH: &str = "/v1/verify";

type Start = fn(&Path) -> Result<Running>;

/// The field, us first.
pub(super) const CONTENDERS: [(&str, Start); 5] = [
    ("Claviger `POST /v1/verify`", claviger),
    (NGINX, nginx),
    (ENVOY, envoy),
    ("djangorestframework-api-key", django),
    ("better-auth api-key", better_auth),
];

/// A contender that is ready.
pub(super) struct Running {
    pub(super) server: Server,
    pub(super) port: u16,
    pub(super) request: Request,
    /// The same with a secret that nobody was given; `None` where no secret is looked at.
    wrong: Option<Request>,
    /// What stands in the answer to a good secret and in no other.
    yes: &'static str,
}

/// A `POST` to [`PATH`].
pub(super) struct Request {
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Running {
    /// Fails unless it lets the good secret pass and the wrong one not: who does not check has nothing to compare.
    pub(super) fn checked(self) -> Result<Self> {
        let answer = exchange(self.port, &self.request.text())?;
        ensure!(answer.contains(self.yes), "it does not know the key: {answer}");
        if let Some(wrong) = &self.wrong {
            let answer = exchange(self.port, &wrong.text())?;
            ensure!(!answer.contains(self.yes), "it lets a wrong key pass: {answer}");
        }
        Ok(self)
    }
}

impl Request {
    fn text(&self) -> String {
        let headers: Vec<String> = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = self.body.len();
        format!(
            "POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{}Content-Length: {length}\r\n\r\n{}",
            headers.concat(),
            self.body
        )
    }
}

/// The question as Claviger takes it. The others are sent the same body where they read one.
fn question(authorization: &str, secret: &str) -> Request {
    Request {
        headers: vec![("Authorization", authorization.to_owned()), ("Content-Type", "application/json".to_owned())],
        body: format!(r#"{{"key":"{secret}","method":"POST","path":"/api/v1/evaluate","ip":"203.0.113.7"}}"#),
    }
}

/// The same secret with another last character.
fn mistyped(secret: &str) -> String {
    let (head, last) = secret.split_at(secret.len() - 1);
    format!("{head}{}", if last == "x" { "y" } else { "x" })
}

fn claviger(folder: &Path) -> Result<Running> {
    CommandLine::new("cargo", "build --release -p claviger").run()?;
    let binary = root().join("target/release/claviger").display().to_string();
    let folder = emptied(folder, "claviger")?;
    let data = folder.join("data").display().to_string();
    let (public, port) = (free_port()?, free_port()?);
    let (listen, internal) = (format!("127.0.0.1:{public}"), format!("127.0.0.1:{port}"));
    let arguments = ["serve", "--data", &data, "--cores", "1", "--listen", &listen, "--internal-listen", &internal];
    let server = Server::start(&folder, port, &binary, &arguments)?;

    let ask = |command: &str| CommandLine::new(&binary, command).argument("--data").argument(&*data).read();
    ask("apply apis/tork.toml")?;
    let organization = ask("orgs create Bench --json")?;
    let organization = organization.split('"').find(|text| text.starts_with("org_")).context("no organization")?;
    ask(&format!("subscriptions set --org {organization} --api tork --plan enterprise"))?;
    let secret = ask(&format!("keys create --quiet --org {organization} --api tork --name bench"))?;
    let token = ask("verifiers create --quiet bench")?;
    let ask_about = |secret: &str| question(&format!("Bearer {}", token.trim()), secret);
    let (request, wrong) = (ask_about(secret.trim()), ask_about(&mistyped(secret.trim())));
    Ok(Running { server, port, request, wrong: Some(wrong), yes: r#"{"valid":true,"# })
}

fn nginx(folder: &Path) -> Result<Running> {
    needs::install_missing(needs::FOR_NGINX)?;
    let folder = emptied(folder, "nginx")?;
    let port = free_port()?;
    let config = configured(&folder, "nginx.conf", port, "")?;
    let arguments = ["-p", &folder.display().to_string(), "-e", "stderr", "-c", &config];
    let server = Server::start(&folder, port, "nginx", &arguments)?;
    // As long as ours, so that reading it costs the same.
    let secret = format!("tork_live_{}", "0".repeat(32));
    let request = question(&format!("Bearer claviger_verifier_{}", "0".repeat(40)), &secret);
    Ok(Running { server, port, request, wrong: None, yes: "HTTP/1.1 200 OK" })
}

fn envoy(folder: &Path) -> Result<Running> {
    let python = python(folder)?;
    let folder = emptied(folder, "envoy")?;
    let port = free_port()?;
    let secret = format!("tork_live_{}", "0".repeat(32));
    let config = configured(&folder, "envoy.yaml", port, &secret)?;
    let program = python.join("envoy").display().to_string();
    let arguments = ["-c", &config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];
    let server = Server::start(&folder, port, &program, &arguments)?;
    // It answers before it has read a body, and then closes the connection: so it gets none.
    let ask_about = |secret: &str| Request { body: String::new(), ..question(&format!("Bearer {secret}"), secret) };
    let (request, wrong) = (ask_about(&secret), ask_about(&mistyped(&secret)));
    Ok(Running { server, port, request, wrong: Some(wrong), yes: "HTTP/1.1 200 OK" })
}

fn django(folder: &Path) -> Result<Running> {
    let python = python(folder)?;
    let folder = emptied(folder, "django")?;
    fs::copy(ours("django_app.py"), folder.join("django_app.py"))?;
    let make = format!("cd {} && {}/python django_app.py", folder.display(), python.display());
    let secret = CommandLine::new("sh", "-c").argument(make).read()?;
    let port = free_port()?;
    let (program, bind) = (python.join("gunicorn").display().to_string(), format!("127.0.0.1:{port}"));
    // The kind of worker that keeps connections open.
    let arguments = ["-w", "1", "-k", "gthread", "--threads", "4", "--keep-alive", "600", "-b", &bind];
    let server = Server::start(&folder, port, &program, &[&arguments[..], &["django_app:application"]].concat())?;
    let ask_about = |secret: &str| question(&format!("Api-Key {secret}"), secret);
    let (request, wrong) = (ask_about(secret.trim()), ask_about(&mistyped(secret.trim())));
    Ok(Running { server, port, request, wrong: Some(wrong), yes: r#"{"valid":true}"# })
}

fn better_auth(folder: &Path) -> Result<Running> {
    needs::install_missing(needs::FOR_NODE)?;
    let folder = folder.join("better-auth");
    fs::create_dir_all(&folder)?;
    for file in ["package.json", "better_auth.mjs"] {
        fs::copy(ours(file), folder.join(file))?;
    }
    let install = "install --no-audit --no-fund --ignore-scripts --prefix";
    CommandLine::new("npm", install).argument(folder.display().to_string()).run()?;
    let port = free_port()?;
    let server = Server::start(&folder, port, "node", &["better_auth.mjs", &port.to_string()])?;
    let output = server.output()?;
    let secret = output.lines().last().context("it issued no key")?;
    let ask_about = |secret: &str| question(&format!("Bearer {secret}"), secret);
    let (request, wrong) = (ask_about(secret), ask_about(&mistyped(secret)));
    Ok(Running { server, port, request, wrong: Some(wrong), yes: r#"{"valid":true}"# })
}

/// The folder of the programs that `requirements.txt` names, installed where it was not.
fn python(folder: &Path) -> Result<PathBuf> {
    needs::install_missing(needs::FOR_PYTHON)?;
    let environment = folder.join("python");
    let programs = environment.join("bin");
    if !programs.join("pip").exists() {
        CommandLine::new("python3", "-m venv").argument(environment.display().to_string()).run()?;
    }
    CommandLine::new(&programs.join("pip").display().to_string(), "install --quiet --disable-pip-version-check -r")
        .argument(ours("requirements.txt").display().to_string())
        .run()?;
    Ok(programs)
}

/// A new folder in the place of the last run's.
fn emptied(folder: &Path, name: &str) -> Result<PathBuf> {
    let folder = folder.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Writes a configuration of ours with its port and secret, and returns where.
fn configured(folder: &Path, name: &str, port: u16, secret: &str) -> Result<String> {
    let text = fs::read_to_string(ours(name))?.replace("PORT", &port.to_string()).replace("SECRET", secret);
    let file = folder.join(name);
    fs::write(&file, text)?;
    Ok(file.display().to_string())
}

fn ours(name: &str) -> PathBuf {
    root().join("bench/compare").join(name)
}
