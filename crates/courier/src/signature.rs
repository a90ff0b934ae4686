//! Signatures as Standard Webhooks 1.0 has them: `v1,` and the HMAC-SHA256, in base 64, of the id, the timestamp and the
//! body, with dots between them.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The signatures with each of some keys, with blanks between them: any of them is enough for who checks.
pub fn sign(keys: &[&[u8]], id: &str, seconds: i64, body: &str) -> String {
    let signature = |key: &&[u8]| {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        for part in [id, ".", &seconds.to_string(), ".", body] {
            context.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(context.sign()))
    };
    keys.iter().map(signature).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(&[&key], id, 1_614_265_330, body), expected);
        let both = sign(&[b"another", &key], id, 1_614_265_330, body);
        assert_eq!(both.split(' ').nth(1), Some(expected));
        assert_eq!(both.split(' ').count(), 2);
    }
}
