use super::*;

fn event(number: i64) -> AuditEvent {
    AuditEvent {
        number,
        at: Timestamp::from_micros(1_767_225_600_000_000),
        actor: Author::Key(KeyId::from_u128(7)),
        source: Source::Address("203.0.113.7".parse().unwrap()),
        action: Action::KeyRevoked,
        target: KeyId::from_u128(8).to_string(),
        organization: Some(OrganizationId::from_u128(1)),
        before: None,
        after: None,
        revision: Revision(3),
    }
}

#[test]
fn an_event_reads_back_as_it_was() {
    let body = event(1).to_body();
    assert_eq!(serde_json::from_str::<AuditEvent>(&body).unwrap(), event(1));
    for word in ["operator", "system", "key_0000000000000000000000001a", "adm_0000000000000000000000001a"] {
        assert_eq!(word.parse::<Author>().unwrap().to_string(), word);
    }
    for word in ["socket", "203.0.113.7", "2001:db8::1", "unknown", "process"] {
        assert_eq!(word.parse::<Source>().unwrap().to_string(), word);
        assert_eq!(serde_json::to_value(word.parse::<Source>().unwrap()).unwrap(), word);
    }
    for action in Action::ALL {
        assert_eq!(action.as_str().parse(), Ok(*action));
        assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
    }
    assert!("root".parse::<Author>().is_err() && "key.eaten".parse::<Action>().is_err());
}

#[test]
fn a_hash_covers_the_text_and_everything_before() {
    let first = chain_hash(&FIRST_PREVIOUS_HASH, &event(1).to_body());
    let second = chain_hash(&first, &event(2).to_body());
    assert_ne!(first, chain_hash(&FIRST_PREVIOUS_HASH, &event(2).to_body()));
    assert_ne!(second, chain_hash(&FIRST_PREVIOUS_HASH, &event(2).to_body()));
}

/// Number, text and hash.
type Link = (i64, String, [u8; 32]);

/// A good chain of so many events.
fn chain(events: i64) -> Vec<Link> {
    let mut previous = FIRST_PREVIOUS_HASH;
    let link = |number| {
        let body = event(number).to_body();
        previous = chain_hash(&previous, &body);
        (number, body, previous)
    };
    (1..=events).map(link).collect()
}

fn walk(links: &[Link], expected: Option<Head>) -> Result<Head, FirstBad> {
    let mut chain = Chain::begin(Head::START, expected)?;
    for (number, body, hash) in links {
        chain.take(*number, body, hash)?;
    }
    chain.end()?;
    assert_eq!(chain.checked(), links.len() as i64);
    Ok(chain.head())
}

#[test]
fn the_first_event_that_is_wrong_is_found() {
    let good = chain(5);
    let head = Head { number: 5, hash: good[4].2 };
    assert_eq!(walk(&good, None), Ok(head));
    let check = |alter: &dyn Fn(&mut Vec<Link>), number, flaw| {
        let mut links = good.clone();
        alter(&mut links);
        assert_eq!(walk(&links, Some(head)), Err(FirstBad { number, flaw }));
    };
    check(&|links| links[2].1 = links[2].1.replace("revoked", "created"), 3, Flaw::Hash);
    check(&|links| links[2].1 = "{}".to_owned(), 3, Flaw::Body);
    check(&|links| links[2].2[0] ^= 1, 3, Flaw::Hash);
    check(&|links| drop(links.remove(2)), 3, Flaw::Missing);
    check(&|links| links[2].0 = 9, 3, Flaw::Missing);
    check(&|links| links.swap(2, 3), 3, Flaw::Missing);
    check(&|links| links[2].1 = links[3].1.clone(), 3, Flaw::Body);
    check(&|links| links.insert(0, (0, event(0).to_body(), [0; 32])), 1, Flaw::Body);
    check(&|links| links.truncate(4), 5, Flaw::CutOff);
    check(&Vec::clear, 5, Flaw::CutOff);
}

#[test]
fn a_chain_that_was_written_anew_is_not_the_one_that_was_noted_down() {
    let links = chain(5);
    for number in 1..=5 {
        let noted = Head { number, hash: links[number as usize - 1].2 };
        assert_eq!(noted.to_string().parse(), Ok(noted));
        assert!(walk(&links, Some(noted)).is_ok());
        let other = Head { number, hash: [7; 32] };
        assert_eq!(walk(&links, Some(other)), Err(FirstBad { number, flaw: Flaw::NotAsNoted }));
    }
    for text in ["", "1", "1:", ":00", "-1:00", &format!("x:{}", "0".repeat(64)), &format!("1:{}", "0".repeat(63))] {
        assert_eq!(text.parse::<Head>(), Err(HeadError), "{text}");
    }
}

#[test]
fn only_what_differs_is_told() {
    let map = |json: &str| serde_json::from_str::<Map<_, _>>(json).unwrap();
    let (before, after) =
        difference(Some(map(r#"{"name":"a","kind":"secret","x":1}"#)), Some(map(r#"{"name":"b","kind":"secret"}"#)));
    assert_eq!((before, after), (Some(map(r#"{"name":"a","x":1}"#)), Some(map(r#"{"name":"b"}"#))));
    assert_eq!(difference(None, Some(map("{}"))), (None, Some(map("{}"))));
}
