//! PostgreSQL goes away under load, and comes back: crashed, or frozen so that it holds every connection and answers
//! nothing.

use std::time::Duration;

use claviger_testkit::Postgres;

use crate::Database;
use crate::books::Books;
use crate::load::must_ask_to_come_back;
use crate::support::server::Place;

/// So long a mutation may take to be refused: ten seconds for the statement that is not answered, five for a
/// connection, and some for a busy machine.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);
/// So soon after its return mutations are done again.
const BACK_WITHIN: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(30);

fn go_away_and_come_back(go: fn(&Postgres), come_back: fn(&Postgres)) {
    let postgres = Postgres::start();
    let database = Database::Postgres(postgres.create_database());
    let server = database.serve_example();
    let mut books = Books::open(&server);
    let load = books.load(&server);
    let ((), tally) = load.run(|load| {
        load.until("callers are at work", PATIENCE, || load.done() >= 8 && load.verdicts() >= 20);
        go(&postgres);
        load.until("mutations are refused", PATIENCE, || load.unavailable() >= 4);
        books.look_up(&server, |answer| must_ask_to_come_back(&answer));
        let before = load.verdicts();
        load.until("verification goes on", PATIENCE, || load.verdicts() >= before + 100);
        come_back(&postgres);
        let before = load.done();
        load.until("mutations are done again", BACK_WITHIN, || load.done() >= before + 8);
    });
    // No caller was left without an answer, and no verdict was another: else the load had failed.
    assert!(tally.longest < REFUSED_WITHIN, "a mutation waited for {:?}", tally.longest);
    books.check(&server, tally);
    // All that was counted meanwhile is in the database, and not only in the files of this server.
    server.stop();
    let server = database.serve(Place::new());
    books.close(&server);
}

#[test]
fn verification_goes_on_while_postgres_is_down() {
    go_away_and_come_back(Postgres::stop, Postgres::start_again);
}

#[test]
fn verification_goes_on_while_postgres_is_frozen() {
    go_away_and_come_back(Postgres::freeze, Postgres::thaw);
}
