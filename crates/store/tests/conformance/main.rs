//! One suite, run by both databases. There is no `if` on the database in any case.
//!
//! A case is a function of an empty store. [`every_store_function_is_named_in_the_suite`] fails when a function of
//! the crate is in no case.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod alerts;
mod cases;
mod delivery;
mod networks;
mod opening;
mod people;
mod plans;
mod shared;
mod snapshot;
mod usage;

use claviger_store::{Database, Store};
use claviger_testkit::Postgres;

/// Gives each case two tests, one a database.
macro_rules! on_both {
    ($($file:ident::$case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $case() {
                let folder = tempfile::tempdir().unwrap();
                super::$file::$case(super::sqlite_store(&folder).await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test] async fn $case() {
                super::$file::$case(super::postgres_store().await).await;
            })+
        }
    };
}

on_both![
    cases::revisions_count_committed_transactions_without_gaps,
    cases::concurrent_writers_take_turns,
    cases::old_transactions_are_forgotten_but_never_the_newest,
    cases::incarnations_count_up,
    cases::who_was_superseded_writes_nothing,
    cases::a_transaction_that_the_database_gave_up_is_not_committed,
    snapshot::the_snapshot_holds_everything,
    snapshot::the_snapshot_equals_the_table_read_row_by_row,
    snapshot::a_bad_row_is_no_snapshot,
    cases::apis_are_put_found_and_listed,
    cases::organizations_are_put_found_and_paged,
    cases::keys_keep_every_field,
    cases::overlaps_and_restrictions_are_found_while_they_last,
    cases::keys_are_listed_by_every_filter,
    cases::keys_are_counted_and_summed_up,
    cases::dead_ephemeral_keys_are_found_and_deleted,
    cases::a_digest_belongs_to_one_key,
    cases::verifiers_and_admin_tokens_live_and_die,
    cases::a_view_does_not_move,
    shared::parts_stand_and_fall_alone,
    shared::what_is_read_once_is_read_anew_when_it_changes,
    shared::new_keys_are_there_for_whoever_looks_and_gone_when_discarded,
    shared::a_shared_transaction_that_ends_early_leaves_nothing,
    shared::audit_events_are_chained_found_and_never_altered,
    shared::answers_are_kept_for_their_caller_and_forgotten,
    shared::old_test_keys_that_were_to_live_shortly_are_found,
    shared::many_keys_are_written_at_once,
    shared::digests_are_found_with_whose_they_are,
    shared::retired_digests_are_known_for_ever,
    shared::a_database_keeps_its_identity,
    shared::selected_keys_are_counted_and_listed_while_they_live,
    plans::subscriptions_are_put_found_and_counted,
    people::members_are_put_found_and_deleted,
    people::invitations_are_open_until_they_end,
    people::keys_are_found_by_who_made_them,
    plans::keys_that_ended_long_ago_are_found_and_their_makers_known,
    delivery::webhook_endpoints_are_put_found_paged_and_deleted,
    delivery::an_event_is_queued_for_whoever_wants_it,
    delivery::what_is_announced_stands_and_falls_with_its_part,
    delivery::whoever_listens_is_asked_anew_when_it_changes,
    delivery::deliveries_are_due_tried_and_over,
    delivery::deliveries_are_replayed_by_what_fits,
    delivery::a_long_queue_loses_its_oldest,
    delivery::what_is_over_is_forgotten,
    delivery::mails_are_due_tried_and_over,
    delivery::keys_that_expire_are_found_once,
    plans::running_periods_are_kept_by_account,
    usage::totals_never_count_twice,
    usage::hours_become_days_and_sums_stay_the_same,
    usage::a_late_total_is_in_the_day_it_is_of,
    usage::a_time_zone_that_changes_moves_no_call,
    usage::what_is_old_is_forgotten_in_small_parts,
    usage::units_are_what_is_billable_of_all_incarnations,
    usage::an_export_is_read_in_pages,
    networks::networks_of_keys_are_kept_with_their_first_and_last_use,
    networks::keys_with_new_networks_are_found_in_pages,
    networks::unknown_keys_are_added_up_and_forgotten_by_the_hour,
    alerts::one_alert_of_a_key_and_kind_is_open,
    alerts::alerts_are_listed_by_every_filter_and_forgotten,
    alerts::settings_are_kept_and_keys_that_matter_listed,
];

async fn sqlite_store(folder: &tempfile::TempDir) -> Store {
    Store::open(&Database::Sqlite(folder.path().join("claviger.db"))).await.unwrap()
}

async fn postgres_store() -> Store {
    Store::open(&Database::Postgres(Postgres::shared().create_database())).await.unwrap()
}

#[test]
fn every_store_function_is_named_in_the_suite() {
    let suite = [
        include_str!("alerts.rs"),
        include_str!("cases.rs"),
        include_str!("delivery.rs"),
        include_str!("opening.rs"),
        include_str!("networks.rs"),
        include_str!("people.rs"),
        include_str!("plans.rs"),
        include_str!("shared.rs"),
        include_str!("snapshot.rs"),
        include_str!("usage.rs"),
    ]
    .concat();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut functions = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines() {
            let Some(rest) = line.trim_start().strip_prefix("pub async fn ") else { continue };
            let name = rest.split(['(', '<']).next().unwrap();
            functions += 1;
            assert!(suite.contains(&format!("{name}(")), "no case of the suite calls {name}");
        }
    }
    assert!(functions > 25, "only {functions} functions were looked at");
}
