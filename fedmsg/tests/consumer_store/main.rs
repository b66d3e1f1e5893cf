//! One contract for all stores of durable consumers: in memory, in SQLite, in PostgreSQL.

mod cursors;
mod damage;
mod failures;
mod fixtures;
mod leases;
mod people;
mod places;
#[cfg(feature = "postgres")]
mod postgres_server;
mod processes;
mod property;
mod refusals;
#[cfg(feature = "postgres")]
mod server;
mod versions;

/// Says so where everybody sees it: what is printed in the usual way is not shown for a test that passes.
fn not_run(why: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "NOT RUN: {why}").expect("somebody reads the errors");
}

macro_rules! on {
    ($place:ident: $($module:ident::$case:ident)*) => {
        mod $place {
            $(#[test]
            fn $case() {
                let test = concat!(stringify!($place), "::", stringify!($case));
                use crate::places::Place;
                if let Some(place) = Place::given(test).or_else(|| Place::$place(test)) {
                    crate::$module::$case(&place);
                }
            })*
        }
    };
}

macro_rules! contract {
    (
        everywhere { $($module:ident::$case:ident)* }
        outside_the_process { $($outer:ident::$process:ident)* }
    ) => {
        on!(memory: $($module::$case)*);
        on!(sqlite: $($module::$case)* $($outer::$process)*);
        #[cfg(feature = "postgres")]
        on!(postgres: $($module::$case)* $($outer::$process)*);
    };
}

contract! {
    everywhere {
        leases::one_owner_at_a_time
        leases::whoever_was_taken_over_writes_nothing
        leases::a_lease_is_prolonged_given_back_and_taken_away
        leases::what_a_consumer_was_created_with_counts
        leases::a_deleted_consumer_leaves_no_fence_that_fits
        leases::bounds_of_claims
        cursors::cursors_move_forwards_only
        cursors::another_epoch_always_counts
        cursors::a_leaf_that_was_missing_is_added
        cursors::a_call_that_fails_moves_nothing
        cursors::what_nobody_needs_is_forgotten
        cursors::people_seek_and_skip_when_nobody_runs
        cursors::numbers_and_batches_are_bounded
        refusals::refusals_are_kept_counted_and_struck_out
        refusals::refusals_are_found_by_stream_reason_and_key
        refusals::what_finds_no_room_is_counted
        failures::a_failed_message_waits_until_it_is_due
        failures::a_full_waiting_room_stops_the_consumer
        failures::a_message_given_up_keeps_its_bytes
        failures::the_oldest_letters_fall_out_and_are_counted
        failures::letters_are_paged_filtered_retried_and_discarded
        failures::pages_are_bounded_by_bytes
        people::consumers_are_listed_shown_and_deleted
        people::nothing_is_changed_while_somebody_runs_it
        people::unknown_consumers_are_named
    }
    outside_the_process {
        property::random_calls_do_what_the_model_does
        processes::what_was_answered_survives_kill_9
        processes::many_processes_take_turns
        processes::many_processes_open_a_new_store_at_once
        versions::a_store_of_an_older_version_is_brought_up_to_date
        versions::a_store_of_a_later_version_is_left_alone
        versions::rows_that_make_no_sense_are_named
    }
}
