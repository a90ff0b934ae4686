//! International bank account numbers (ISO 13616): the country's own length and structure, in one piece or in
//! groups parted by single spaces or dashes, with the check digits right (ISO 7064, mod 97-10).

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::{at, before, each_match};

static START: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?-u)[A-Za-z]{2}[0-9]{2}").expect("the pattern is a constant"));

/// What follows the country and the check digits, in the notation of the IBAN registry: a count, then `n` for
/// digits, `a` for letters, `c` for either.
const COUNTRIES: [(&str, &str); 89] = [
    ("AD", "8n12c"),
    ("AE", "19n"),
    ("AL", "8n16c"),
    ("AT", "16n"),
    ("AZ", "4a20c"),
    ("BA", "16n"),
    ("BE", "12n"),
    ("BG", "4a6n8c"),
    ("BH", "4a14c"),
    ("BI", "23n"),
    ("BR", "23n1a1c"),
    ("BY", "4c4n16c"),
    ("CH", "5n12c"),
    ("CR", "18n"),
    ("CY", "8n16c"),
    ("CZ", "20n"),
    ("DE", "18n"),
    ("DJ", "23n"),
    ("DK", "14n"),
    ("DO", "4c20n"),
    ("EE", "16n"),
    ("EG", "25n"),
    ("ES", "20n"),
    ("FI", "14n"),
    ("FK", "2a12n"),
    ("FO", "14n"),
    ("FR", "10n11c2n"),
    ("GB", "4a14n"),
    ("GE", "2a16n"),
    ("GI", "4a15c"),
    ("GL", "14n"),
    ("GR", "7n16c"),
    ("GT", "24c"),
    ("HN", "4a20n"),
    ("HR", "17n"),
    ("HU", "24n"),
    ("IE", "4a14n"),
    ("IL", "19n"),
    ("IQ", "4a15n"),
    ("IS", "22n"),
    ("IT", "1a10n12c"),
    ("JO", "4a4n18c"),
    ("KW", "4a22c"),
    ("KZ", "3n13c"),
    ("LB", "4n20c"),
    ("LC", "4a24c"),
    ("LI", "5n12c"),
    ("LT", "16n"),
    ("LU", "3n13c"),
    ("LV", "4a13c"),
    ("LY", "21n"),
    ("MC", "10n11c2n"),
    ("MD", "20c"),
    ("ME", "18n"),
    ("MK", "3n10c2n"),
    ("MN", "16n"),
    ("MR", "23n"),
    ("MT", "4a5n18c"),
    ("MU", "4a19n3a"),
    ("NI", "4a20n"),
    ("NL", "4a10n"),
    ("NO", "11n"),
    ("OM", "3n16c"),
    ("PK", "4a16c"),
    ("PL", "24n"),
    ("PS", "4a21c"),
    ("PT", "21n"),
    ("QA", "4a21c"),
    ("RO", "4a16c"),
    ("RS", "18n"),
    ("RU", "14n15c"),
    ("SA", "2n18c"),
    ("SC", "4a20n3a"),
    ("SD", "14n"),
    ("SE", "20n"),
    ("SI", "15n"),
    ("SK", "20n"),
    ("SM", "1a10n12c"),
    ("SO", "19n"),
    ("ST", "21n"),
    ("SV", "4a20n"),
    ("TL", "19n"),
    ("TN", "20n"),
    ("TR", "6n16c"),
    ("UA", "6n19c"),
    ("VA", "18n"),
    ("VG", "4a16n"),
    ("XK", "16n"),
    ("YE", "4a4n18c"),
];

pub(super) fn detect(text: &[u8], found: &mut Vec<Range<usize>>) {
    each_match(&START, text, found, |matched| {
        let start = matched.start;
        if before(text, start).is_ascii_alphanumeric() {
            return None;
        }
        let country = text[start..start + 2].to_ascii_uppercase();
        let (_, structure) = COUNTRIES.iter().find(|(code, _)| code.as_bytes() == country)?;
        let end = read_structure(text, matched.end, structure)?;
        (!at(text, end).is_ascii_alphanumeric() && passes_mod_97(&text[start..end])).then_some(start..end)
    });
}

/// Where the characters that `structure` asks for end, if they all are there.
fn read_structure(text: &[u8], start: usize, structure: &str) -> Option<usize> {
    let mut position = start;
    let mut count = 0;
    for symbol in structure.bytes() {
        if symbol.is_ascii_digit() {
            count = count * 10 + usize::from(symbol - b'0');
            continue;
        }
        for _ in 0..count {
            if matches!(at(text, position), b' ' | b'-') {
                position += 1;
            }
            let byte = at(text, position);
            let fits = match symbol {
                b'n' => byte.is_ascii_digit(),
                b'a' => byte.is_ascii_alphabetic(),
                _ => byte.is_ascii_alphanumeric(),
            };
            if !fits {
                return None;
            }
            position += 1;
        }
        count = 0;
    }
    Some(position)
}

/// The whole number, first four characters moved to the end and letters read as 10 to 35, leaves 1.
fn passes_mod_97(number: &[u8]) -> bool {
    let (head, rest) = number.split_at(4);
    let remainder = rest.iter().chain(head).fold(0_u32, |remainder, byte| match byte {
        b'0'..=b'9' => (remainder * 10 + u32::from(byte - b'0')) % 97,
        b' ' | b'-' => remainder,
        letter => (remainder * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    // 00, 01 and 99 would leave 1 as well, but are never given out.
    remainder == 1 && (b"02".as_slice()..=b"98".as_slice()).contains(&&head[2..])
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::super::tests::{check, check_none};
    use super::COUNTRIES;

    /// The registry's own example for every country.
    const EXAMPLES: &str = "AD1200012030200359100100 AE070331234567890123456 AL47212110090000000235698741 \
        AT611904300234573201 AZ21NABZ00000000137010001944 BA391290079401028494 BE68539007547034 \
        BG80BNBG96611020345678 BH67BMAG00001299123456 BI4210000100010000332045181 BR1800360305000010009795493C1 \
        BY13NBRB3600900000002Z00AB00 CH9300762011623852957 CR05015202001026284066 CY17002001280000001200527600 \
        CZ6508000000192000145399 DE89370400440532013000 DJ2100010000000154000100186 DK5000400440116243 \
        DO28BAGR00000001212453611324 EE382200221020145685 EG380019000500000000263180002 ES9121000418450200051332 \
        FI2112345600000785 FK88SC123456789012 FO6264600001631634 FR1420041010050500013M02606 \
        GB29NWBK60161331926819 GE29NB0000000101904917 GI75NWBK000000007099453 GL8964710001000206 \
        GR1601101250000000012300695 GT82TRAJ01020000001210029690 HN88CABF00000000000250005469 \
        HR1210010051863000160 HU42117730161111101800000000 IE29AIBK93115212345678 IL620108000000099999999 \
        IQ98NBIQ850123456789012 IS140159260076545510730339 IT60X0542811101000000123456 \
        JO94CBJO0010000000000131000302 KW81CBKU0000000000001234560101 KZ86125KZT5004100100 \
        LB62099900000001001901229114 LC55HEMM000100010012001200023015 LI21088100002324013AA LT121000011101001000 \
        LU280019400644750000 LV80BANK0000435195001 LY83002048000020100120361 MC5811222000010123456789030 \
        MD24AG000225100013104168 ME25505000012345678951 MK07250120000058984 MN121234123456789123 \
        MR1300020001010000123456753 MT84MALT011000012345MTLCAST001S MU17BOMM0101101030300200000MUR \
        NI45BAPR00000013000003558124 NL91ABNA0417164300 NO9386011117947 OM810180000001299123456 \
        PK36SCBL0000001123456702 PL61109010140000071219812874 PS92PALS000000000400123456702 \
        PT50000201231234567890154 QA58DOHB00001234567890ABCDEFG RO49AAAA1B31007593840000 RS35260005601001611379 \
        RU0304452522540817810538091310419 SA0380000000608010167519 SC18SSCB11010000000000001497USD \
        SD8811123456789012 SE4550000000058398257466 SI56263300012039086 SK3112000000198742637541 \
        SM86U0322509800000000270100 SO211000001001000100141 ST23000100010051845310146 \
        SV62CENR00000000000000700025 TL380080012345678910157 TN5910006035183598478831 TR330006100519786457841326 \
        UA213223130000026007233566001 VA59001123000012345678 VG96VPVG0000012345678901 XK051212012345678906 \
        YE15CBYE0001018861234567891234";

    #[test]
    fn every_country() {
        let mut seen = Vec::new();
        for example in EXAMPLES.split_whitespace() {
            let grouped = example.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap());
            let grouped = grouped.collect::<Vec<_>>().join(" ");
            check(Kind::Iban, &[&format!("«{example}»"), &format!("to «{grouped}».")]);
            seen.push(&example[..2]);
            // One digit more or less is another country's length, or nobody's.
            check_none(Kind::Iban, &[&format!("{example}0"), &example[..example.len() - 1]]);
        }
        assert_eq!(seen, COUNTRIES.map(|(country, _)| country));
    }

    #[test]
    fn found() {
        check(
            Kind::Iban,
            &[
                "IBAN: «GB29 NWBK 6016 1331 9268 19», thanks",
                "«GB29 NWBK 601613 31926819»",
                "«GB29-NWBK-6016-1331-9268-19»",
                "«de89370400440532013000»",
                "(«NL91ABNA0417164300»)",
                "«DE89\u{A0}3704\u{A0}0044\u{A0}0532\u{A0}0130\u{A0}00»",
                "«DE89370400440532013000» «FR1420041010050500013M02606»",
                "IBAN_«DE89370400440532013000»",
                "口座«DE89370400440532013000»です",
            ],
        );
    }

    #[test]
    fn near_misses() {
        check_none(
            Kind::Iban,
            &[
                // wrong check digits
                "DE88370400440532013000",
                "GB28 NWBK 6016 1331 9268 19",
                "FR1420041010050500013M02607",
                // two digits swapped
                "DE89370400440532031000",
                // no such country, and a country without IBANs
                "ZZ89370400440532013000",
                "US89370400440532013000",
                // right check, wrong structure (a letter where Germany has digits)
                "DE89AAAA00440532013000",
                // wrong parting
                "DE89  3704  0044  0532  0130  00",
                "DE89.3704.0044.0532.0130.00",
                "DE89 3704 0044\n0532 0130 00",
                "D E89370400440532013000",
                // inside a longer word
                "XDE89370400440532013000",
                "1DE89370400440532013000",
                "DE89370400440532013000X",
                // prose and codes
                "at 12 people and be 34 more",
                "AT12",
                "NO12 people",
            ],
        );
    }

    #[test]
    fn a_false_start_hides_nothing() {
        check(Kind::Iban, &["GB00 «DE89370400440532013000»", "de12 de34 «DE89370400440532013000»"]);
    }
}
