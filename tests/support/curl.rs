//! Reads a `curl` command as a document prints it, so that what is replayed is what is printed.

use super::http::Request;

/// The request that this command line makes. Knows the options that the documents use, and no others.
pub(crate) fn curl(command: &str) -> Request {
    let mut words = shell_words(command).into_iter();
    assert_eq!(words.next().as_deref(), Some("curl"));
    let (mut method, mut url, mut body) = (None, None, None);
    let mut headers = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-X" => method = words.next(),
            "-H" => headers.push(words.next().unwrap()),
            "-d" => body = words.next(),
            "-sS" => {}
            _ if word.starts_with("https://") => url = Some(word),
            _ => panic!("{word} is not an option of the documents"),
        }
    }
    let url = url.unwrap();
    let (host, path) = url["https://".len()..].split_at(url["https://".len()..].find('/').unwrap());
    // As curl does: -d makes a POST of it, and these two are sent with every request.
    let method = method.unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
    let mut request =
        Request::new(&method, path).host(host).header("User-Agent", "curl/8.14.1").header("Accept", "*/*");
    for header in &headers {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    request.body(body.unwrap_or_default())
}

/// Splits at blanks outside of quotes; a backslash joins lines and quotes nothing else here.
fn shell_words(command: &str) -> Vec<String> {
    let joined = command.replace("\\\n", " ");
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in joined.chars() {
        match quote {
            Some(open) if open == character => quote = None,
            None if character.is_whitespace() => words.extend(word.take()),
            None if character == '"' || character == '\'' => {
                quote = Some(character);
                // Quotes around nothing are a word, too.
                word.get_or_insert_default();
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    assert!(quote.is_none(), "an open quote in {command}");
    words.extend(word);
    words
}
