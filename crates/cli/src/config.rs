//! What the server is told: from flags and the environment, from the config file, and by default.
//!
//! Each place gives a [`Settings`], in which anything may be missing. They are laid over each other and
//! become a [`ServerConfig`] once, in which nothing is missing and everything was checked.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use claviger_app::{Database, UsageRetention};
use claviger_courier::{Reach, Sender, SmtpUrl};
use claviger_domain::address::{ForwardingHeader, IpRule, TrustedProxies};
use claviger_domain::limits;
use claviger_domain::member::InvitationUrl;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What one place says of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) internal_listen: Option<SocketAddr>,
    pub(crate) database: Option<Database>,
    pub(crate) trusted_proxies: Option<Vec<IpRule>>,
    pub(crate) forwarding_header: Option<ForwardingHeader>,
    pub(crate) cores: Option<usize>,
    pub(crate) log_level: Option<LogLevel>,
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) smtp_url: Option<SmtpUrl>,
    pub(crate) mail_from: Option<Sender>,
    pub(crate) invitation_url: Option<InvitationUrl>,
    pub(crate) webhooks_allow_http: Option<bool>,
    pub(crate) webhooks_allow_private_networks: Option<bool>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) usage_hours_kept_days: Option<u16>,
    pub(crate) usage_days_kept_days: Option<u16>,
}

/// Everything the server needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) internal_listen: SocketAddr,
    /// `None` keeps everything in the data directory.
    pub(crate) database: Option<Database>,
    pub(crate) trusted_proxies: TrustedProxies,
    /// Data-plane threads; `None` takes as many as the machine has.
    pub(crate) cores: Option<NonZeroUsize>,
    pub(crate) log_level: LogLevel,
    pub(crate) log_format: LogFormat,
    /// `None` writes mails into a folder.
    pub(crate) smtp_url: Option<SmtpUrl>,
    pub(crate) mail_from: Sender,
    /// Where the links of invitations lead.
    pub(crate) invitation_url: Option<InvitationUrl>,
    /// Where webhooks may go.
    pub(crate) reach: Reach,
    /// Certificates of authorities that webhooks and mails trust beside Mozilla's.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) usage: UsageRetention,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// What a log line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Everything that is wrong with a config file, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigMistakes(Vec<String>);

impl fmt::Display for ConfigMistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const INTERNAL_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

impl Settings {
    /// Reads a config file and reports every mistake in it together.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigMistakes> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader { text, mistakes: Vec::new(), unreadable: Vec::new() };
        for error in errors {
            let line = reader.mistake(error.span().unwrap_or_default(), error.message());
            reader.unreadable.push(line);
        }
        let mut settings = Self::default();
        for (key, value) in table.get_ref() {
            reader.setting(&mut settings, key, value);
        }
        if reader.mistakes.is_empty() {
            return Ok(settings);
        }
        reader.mistakes.sort_by_key(|(line, _)| *line);
        // What a line that could not be read seems to say is not worth a second complaint.
        reader.mistakes.dedup_by(|later, earlier| later.0 == earlier.0 && reader.unreadable.contains(&later.0));
        Err(ConfigMistakes(reader.mistakes.into_iter().map(|(line, text)| format!("line {line}: {text}")).collect()))
    }

    /// Fills what is missing here from a weaker place.
    pub(crate) fn or(self, weaker: Self) -> Self {
        Self {
            listen: self.listen.or(weaker.listen),
            internal_listen: self.internal_listen.or(weaker.internal_listen),
            database: self.database.or(weaker.database),
            trusted_proxies: self.trusted_proxies.or(weaker.trusted_proxies),
            forwarding_header: self.forwarding_header.or(weaker.forwarding_header),
            cores: self.cores.or(weaker.cores),
            log_level: self.log_level.or(weaker.log_level),
            log_format: self.log_format.or(weaker.log_format),
            smtp_url: self.smtp_url.or(weaker.smtp_url),
            mail_from: self.mail_from.or(weaker.mail_from),
            invitation_url: self.invitation_url.or(weaker.invitation_url),
            webhooks_allow_http: self.webhooks_allow_http.or(weaker.webhooks_allow_http),
            webhooks_allow_private_networks: self
                .webhooks_allow_private_networks
                .or(weaker.webhooks_allow_private_networks),
            ca_file: self.ca_file.or(weaker.ca_file),
            usage_hours_kept_days: self.usage_hours_kept_days.or(weaker.usage_hours_kept_days),
            usage_days_kept_days: self.usage_days_kept_days.or(weaker.usage_days_kept_days),
        }
    }

    /// Fills the rest with the defaults and checks what only makes sense together.
    pub(crate) fn resolve(self) -> Result<ServerConfig, ConfigMistakes> {
        let listen = self.listen.unwrap_or(LISTEN);
        let internal_listen = self.internal_listen.unwrap_or(INTERNAL_LISTEN);
        if listen == internal_listen && listen.port() != 0 {
            return Err(ConfigMistakes(vec![format!(
                "listen and internal_listen are both {listen}; the internal one needs an address of its own"
            )]));
        }
        if self.smtp_url.is_some() && self.mail_from.is_none() {
            let mistake = "mail.smtp_url is set, but not mail.from: say who mails are from".to_owned();
            return Err(ConfigMistakes(vec![mistake]));
        }
        let kept = UsageRetention::default();
        let hours = self.usage_hours_kept_days.unwrap_or(kept.hours_kept_days());
        let days = self.usage_days_kept_days.unwrap_or(kept.days_kept_days());
        let usage = UsageRetention::new(hours, days).ok_or_else(|| {
            ConfigMistakes(vec![format!(
                "usage.days_kept_days is {days}, which is less than the {hours} of usage.hours_kept_days"
            )])
        })?;
        let header = self.forwarding_header.unwrap_or(TrustedProxies::default().header());
        Ok(ServerConfig {
            listen,
            internal_listen,
            database: self.database,
            trusted_proxies: TrustedProxies::new(self.trusted_proxies.unwrap_or_default(), header),
            cores: self.cores.and_then(NonZeroUsize::new),
            log_level: self.log_level.unwrap_or_default(),
            log_format: self.log_format.unwrap_or_default(),
            smtp_url: self.smtp_url,
            invitation_url: self.invitation_url,
            mail_from: self.mail_from.unwrap_or_else(|| MAIL_FROM.parse().expect("the default is an address")),
            reach: Reach {
                allows_http: self.webhooks_allow_http.unwrap_or_default(),
                allows_private_networks: self.webhooks_allow_private_networks.unwrap_or_default(),
            },
            ca_file: self.ca_file,
            usage,
        })
    }
}

/// Reads a forwarding header's name as it is written in flags and files.
pub(crate) fn parse_forwarding_header(text: &str) -> Result<ForwardingHeader, String> {
    [ForwardingHeader::XForwardedFor, ForwardingHeader::Forwarded]
        .into_iter()
        .find(|header| header.name() == text)
        .ok_or_else(|| "must be \"x-forwarded-for\" or \"forwarded\"".to_owned())
}

/// Reads a socket address, saying what one looks like.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned())
}

/// Reads the path of a file. A relative one would depend on where the server is started.
fn parse_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("must be a path that begins with /".to_owned()) }
}

/// Whom mails are from that are written into a folder.
const MAIL_FROM: &str = "Claviger <claviger@localhost>";

const SETTINGS: [&str; 11] = [
    "listen",
    "internal_listen",
    "database_url",
    "trusted_proxies",
    "forwarding_header",
    "cores",
    "ca_file",
    "log",
    "mail",
    "webhooks",
    "usage",
];
const LOG_SETTINGS: [&str; 2] = ["level", "format"];
const MAIL_SETTINGS: [&str; 3] = ["smtp_url", "from", "invitation_url"];
const WEBHOOKS_SETTINGS: [&str; 2] = ["allow_http", "allow_private_networks"];
const USAGE_SETTINGS: [&str; 2] = ["hours_kept_days", "days_kept_days"];

/// Turns a parsed file into settings, by hand: serde stops at the first mistake.
struct Reader<'t> {
    text: &'t str,
    mistakes: Vec<(usize, String)>,
    /// Lines that are not TOML.
    unreadable: Vec<usize>,
}

type Value<'t> = Spanned<DeValue<'t>>;

impl Reader<'_> {
    fn setting(&mut self, settings: &mut Settings, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Value<'_>) {
        match key.get_ref().as_ref() {
            "listen" => settings.listen = self.parsed("listen", value, parse_listen),
            "internal_listen" => settings.internal_listen = self.parsed("internal_listen", value, parse_listen),
            "database_url" => settings.database = self.untold("database_url", value),
            "trusted_proxies" => settings.trusted_proxies = self.networks(value),
            "forwarding_header" => {
                settings.forwarding_header = self.parsed("forwarding_header", value, parse_forwarding_header);
            }
            "cores" => settings.cores = self.cores(value),
            "ca_file" => settings.ca_file = self.parsed("ca_file", value, parse_file),
            "log" => self.log(settings, value),
            "mail" => self.mail(settings, value),
            "webhooks" => self.webhooks(settings, value),
            "usage" => self.usage(settings, value),
            unknown => self.unknown(key.span(), "", unknown, &SETTINGS),
        }
    }

    fn log(&mut self, settings: &mut Settings, value: &Value<'_>) {
        let Some(table) = value.get_ref().as_table() else {
            return self.wrong_type("log", value, "a table: [log]");
        };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "level" => settings.log_level = self.parsed("log.level", value, parse_word),
                "format" => settings.log_format = self.parsed("log.format", value, parse_word),
                unknown => self.unknown(key.span(), "log.", unknown, &LOG_SETTINGS),
            }
        }
    }

    fn mail(&mut self, settings: &mut Settings, value: &Value<'_>) {
        let Some(table) = value.get_ref().as_table() else {
            return self.wrong_type("mail", value, "a table: [mail]");
        };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "smtp_url" => settings.smtp_url = self.untold("mail.smtp_url", value),
                "from" => settings.mail_from = self.untold("mail.from", value),
                "invitation_url" => settings.invitation_url = self.untold("mail.invitation_url", value),
                unknown => self.unknown(key.span(), "mail.", unknown, &MAIL_SETTINGS),
            }
        }
    }

    fn webhooks(&mut self, settings: &mut Settings, value: &Value<'_>) {
        let Some(table) = value.get_ref().as_table() else {
            return self.wrong_type("webhooks", value, "a table: [webhooks]");
        };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "allow_http" => settings.webhooks_allow_http = self.flag("webhooks.allow_http", value),
                "allow_private_networks" => {
                    settings.webhooks_allow_private_networks = self.flag("webhooks.allow_private_networks", value);
                }
                unknown => self.unknown(key.span(), "webhooks.", unknown, &WEBHOOKS_SETTINGS),
            }
        }
    }

    fn usage(&mut self, settings: &mut Settings, value: &Value<'_>) {
        let Some(table) = value.get_ref().as_table() else {
            return self.wrong_type("usage", value, "a table: [usage]");
        };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                name @ "hours_kept_days" => {
                    settings.usage_hours_kept_days = self.days(name, value, limits::USAGE_HOURS_KEPT_DAYS);
                }
                name @ "days_kept_days" => {
                    settings.usage_days_kept_days = self.days(name, value, limits::USAGE_DAYS_KEPT_DAYS);
                }
                unknown => self.unknown(key.span(), "usage.", unknown, &USAGE_SETTINGS),
            }
        }
    }

    fn flag(&mut self, name: &str, value: &Value<'_>) -> Option<bool> {
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.wrong_type(name, value, "true or false");
        }
        found
    }

    fn days(&mut self, name: &str, value: &Value<'_>, allowed: std::ops::RangeInclusive<u16>) -> Option<u16> {
        let digits = value.get_ref().as_integer().filter(|integer| integer.radix() == 10);
        let days = digits.and_then(|integer| integer.as_str().parse().ok()).filter(|days| allowed.contains(days));
        if days.is_none() {
            let expected = format!("a whole number from {} to {}", allowed.start(), allowed.end());
            self.wrong_type(&format!("usage.{name}"), value, &expected);
        }
        days
    }

    fn networks(&mut self, value: &Value<'_>) -> Option<Vec<IpRule>> {
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type("trusted_proxies", value, "a list such as [\"10.0.0.0/8\"]");
            return None;
        };
        let parse = |text: &str| IpRule::from_str(text).map_err(|error| error.to_string());
        let rules = array.iter().filter_map(|element| self.parsed("each of trusted_proxies", element, parse));
        Some(rules.collect())
    }

    /// A mistake is told without the text, which may hold a password.
    fn untold<T: FromStr<Err: fmt::Display>>(&mut self, name: &str, value: &Value<'_>) -> Option<T> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(name, value, "a text in quotes");
            return None;
        };
        let parsed = T::from_str(text);
        if let Err(error) = &parsed {
            self.mistake(value.span(), &format!("{name}: {error}"));
        }
        parsed.ok()
    }

    fn cores(&mut self, value: &Value<'_>) -> Option<usize> {
        let digits = value.get_ref().as_integer().filter(|integer| integer.radix() == 10);
        let cores = digits.and_then(|integer| integer.as_str().parse().ok()).filter(|cores| *cores <= CORES_MAX);
        if cores.is_none() {
            self.wrong_type("cores", value, &format!("a whole number from 0 to {CORES_MAX}"));
        }
        cores
    }

    fn parsed<T>(&mut self, name: &str, value: &Value<'_>, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(name, value, "a text in quotes");
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(expected) => {
                self.mistake(value.span(), &format!("{name} {text:?}: {expected}"));
                None
            }
        }
    }

    fn wrong_type(&mut self, name: &str, value: &Value<'_>, expected: &str) {
        let found = value.get_ref().type_str();
        self.mistake(value.span(), &format!("{name} must be {expected}, not a TOML {found}"));
    }

    fn unknown(&mut self, span: Range<usize>, table: &str, name: &str, known: &[&str]) {
        let known = known.iter().map(|known| format!("{table}{known}")).collect::<Vec<_>>().join(", ");
        self.mistake(span, &format!("{table}{name} is not a setting; there are {known}"));
    }

    /// Notes a mistake and returns its line.
    fn mistake(&mut self, span: Range<usize>, text: &str) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = before.split(|byte| *byte == b'\n').count();
        self.mistakes.push((line, text.to_owned()));
        line
    }
}

/// More threads than any machine this runs on has cores.
pub(crate) const CORES_MAX: usize = 1024;

fn parse_word<T: clap::ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let values = T::value_variants().iter().filter_map(T::to_possible_value);
        let names: Vec<_> = values.map(|value| format!("{:?}", value.get_name())).collect();
        format!("must be one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT_FILE: &str = include_str!("../assets/claviger.toml");

    fn mistakes(text: &str) -> Vec<String> {
        Settings::parse(text).err().map_or(Vec::new(), |mistakes| mistakes.0)
    }

    /// The default file with its settings switched on: lines that begin with `#` and no blank.
    fn uncommented() -> String {
        let lines = DEFAULT_FILE.lines().map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_shipped_file_says_the_defaults() {
        let defaults = Settings::default().resolve().unwrap();
        assert_eq!(Settings::parse(DEFAULT_FILE).unwrap(), Settings::default());
        let spelled_out = Settings::parse(&uncommented()).unwrap();
        assert_eq!(spelled_out.clone().resolve().unwrap(), defaults);
        // Every setting there is stands in the file.
        let Settings {
            listen,
            internal_listen,
            database,
            trusted_proxies,
            forwarding_header,
            cores,
            log_level,
            log_format,
            smtp_url,
            mail_from,
            invitation_url,
            webhooks_allow_http,
            webhooks_allow_private_networks,
            ca_file,
            usage_hours_kept_days,
            usage_days_kept_days,
        } = spelled_out;
        // The default database has no URL of its own; the file shows one in a comment.
        assert!(database.is_none() && DEFAULT_FILE.contains("\n# database_url = "));
        assert!(listen.is_some() && internal_listen.is_some() && trusted_proxies.is_some());
        assert!(forwarding_header.is_some() && cores.is_some() && log_level.is_some() && log_format.is_some());
        assert!(smtp_url.is_none() && DEFAULT_FILE.contains("\n# smtp_url = "));
        assert!(invitation_url.is_none() && DEFAULT_FILE.contains("\n# invitation_url = "));
        assert!(ca_file.is_none() && DEFAULT_FILE.contains("\n# ca_file = "));
        assert!(mail_from.is_some() && webhooks_allow_http.is_some() && webhooks_allow_private_networks.is_some());
        assert!(usage_hours_kept_days.is_some() && usage_days_kept_days.is_some());
    }

    #[test]
    fn every_setting_is_read() {
        let settings = Settings::parse(
            "listen = \"[::1]:80\"\ninternal_listen = \"10.0.0.1:81\"\n\
             database_url = \"postgres://ada:pw@db.test/keys\"\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n\
             forwarding_header = \"forwarded\"\ncores = 4\nca_file = \"/etc/ca.pem\"\nlog = { level = \"debug\", format = \"json\" }\n\
             mail = { smtp_url = \"smtps://ada:pw@mail.test\", from = \"Keys <keys@mail.test>\", invitation_url = \"https://a.test/#{token}\" }\n\
             webhooks = { allow_http = true, allow_private_networks = true }\n\
             usage = { hours_kept_days = 40, days_kept_days = 400 }",
        );
        let expected = Settings {
            listen: Some("[::1]:80".parse().unwrap()),
            internal_listen: Some("10.0.0.1:81".parse().unwrap()),
            database: Some(Database::Postgres("postgres://ada:pw@db.test/keys".to_owned())),
            trusted_proxies: Some(vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]),
            forwarding_header: Some(ForwardingHeader::Forwarded),
            cores: Some(4),
            log_level: Some(LogLevel::Debug),
            log_format: Some(LogFormat::Json),
            smtp_url: Some("smtps://ada:pw@mail.test".parse().unwrap()),
            mail_from: Some("Keys <keys@mail.test>".parse().unwrap()),
            invitation_url: Some("https://a.test/#{token}".parse().unwrap()),
            webhooks_allow_http: Some(true),
            webhooks_allow_private_networks: Some(true),
            ca_file: Some("/etc/ca.pem".into()),
            usage_hours_kept_days: Some(40),
            usage_days_kept_days: Some(400),
        };
        assert!(!format!("{expected:?}").contains("ada:pw"));
        assert_eq!(settings, Ok(expected));
    }

    #[test]
    fn mistakes_are_reported_together_by_line() {
        let text = "listen = \"8080\"\ninternal_listen = 8081\n\ntrusted_proxies = [\"10.0.0.1/8\", 7, \"::1\"]\n\
                    forwarding_header = \"x-real-ip\"\ncolour = 1\n[log]\nlevel = \"loud\"\nfile = \"x\"\ncores = 2";
        insta::assert_snapshot!(mistakes(text).join("\n"), @r#"
        line 1: listen "8080": must be an address and a port, such as 127.0.0.1:8080 or [::1]:8080
        line 2: internal_listen must be a text in quotes, not a TOML integer
        line 4: each of trusted_proxies "10.0.0.1/8": 10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8?
        line 4: each of trusted_proxies must be a text in quotes, not a TOML integer
        line 5: forwarding_header "x-real-ip": must be "x-forwarded-for" or "forwarded"
        line 6: colour is not a setting; there are listen, internal_listen, database_url, trusted_proxies, forwarding_header, cores, ca_file, log, mail, webhooks, usage
        line 8: log.level "loud": must be one of "off", "error", "warn", "info", "debug", "trace"
        line 9: log.file is not a setting; there are log.level, log.format
        line 10: log.cores is not a setting; there are log.level, log.format
        "#);
    }

    #[test]
    fn usage_is_kept_for_a_while_at_least() {
        let said = mistakes("[usage]\nhours_kept_days = 34\ndays_kept_days = 3661\nweeks = 1");
        assert_eq!(said[0], "line 2: usage.hours_kept_days must be a whole number from 35 to 400, not a TOML integer");
        assert!(
            said[1].starts_with("line 3: usage.days_kept_days") && said[2].starts_with("line 4: usage.weeks"),
            "{said:?}"
        );
        let shorter = Settings::parse("usage = { hours_kept_days = 90, days_kept_days = 60 }").unwrap().resolve();
        assert!(shorter.unwrap_err().to_string().starts_with("usage.days_kept_days is 60"));
    }

    #[test]
    fn a_file_does_not_depend_on_where_the_server_starts() {
        assert_eq!(mistakes("ca_file = \"ca.pem\""), ["line 1: ca_file \"ca.pem\": must be a path that begins with /"]);
    }

    #[test]
    fn a_mistaken_database_url_is_not_repeated() {
        let mistakes = mistakes("database_url = \"mysql://ada:hunter2@db.test/keys\"");
        assert_eq!(mistakes, ["line 1: database_url: a database URL begins with sqlite: or postgres://"]);
    }

    #[test]
    fn a_mistaken_smtp_url_is_not_repeated() {
        let wrong =
            mistakes("[mail]\nsmtp_url = \"smtp://ada:hunter2@mail.test\"\nfrom = \"x\"\n[webhooks]\nallow_http = 1");
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(!wrong.concat().contains("hunter2") && wrong[0].starts_with("line 2: mail.smtp_url: holds a password"));
        let sender = Settings::parse("[mail]\nsmtp_url = \"smtp://mail.test\"").unwrap().resolve();
        assert!(sender.unwrap_err().to_string().contains("mail.from"));
    }

    #[test]
    fn broken_toml_is_reported_with_the_rest() {
        insta::assert_snapshot!(mistakes("listen = \nport = 1\nlisten = \"x\"").join("\n"), @r"
        line 1: string values must be quoted, expected literal string
        line 2: port is not a setting; there are listen, internal_listen, database_url, trusted_proxies, forwarding_header, cores, ca_file, log, mail, webhooks, usage
        line 3: duplicate key
        ");
    }

    #[test]
    fn cores_are_a_small_whole_number() {
        for cores in ["-1", "1.5", "\"2\"", "0x10", "1025", "true"] {
            assert_eq!(mistakes(&format!("cores = {cores}")).len(), 1, "{cores}");
        }
        assert_eq!(Settings::parse("cores = 0").unwrap().resolve().unwrap().cores, None);
    }

    #[test]
    fn the_stronger_place_wins() {
        let flags = Settings { cores: Some(1), ..Settings::default() };
        let file = Settings { cores: Some(2), log_level: Some(LogLevel::Warn), ..Settings::default() };
        let merged = flags.or(file);
        assert_eq!((merged.cores, merged.log_level, merged.listen), (Some(1), Some(LogLevel::Warn), None));
    }

    #[test]
    fn the_two_listeners_need_two_addresses() {
        let both = |address: &str| Settings {
            listen: Some(address.parse().unwrap()),
            internal_listen: Some(address.parse().unwrap()),
            ..Settings::default()
        };
        assert!(both("127.0.0.1:9000").resolve().is_err());
        assert!(both("127.0.0.1:0").resolve().is_ok());
    }
}
