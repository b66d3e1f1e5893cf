//! A server of journals and those who ask it, over sockets and in memory.

#[path = "../bus/mod.rs"]
mod bus;
#[path = "../independent/mod.rs"]
mod independent;

mod client;
mod host;

mod hostile;
mod reading;

/// Runs each function as a test of its own, on every transport.
macro_rules! on_every_transport {
    ($($part:ident::{$($sentence:ident),* $(,)?}),* $(,)?) => {
        mod memory {
            $($(
                #[test]
                fn $sentence() {
                    crate::$part::$sentence(&crate::host::memory());
                }
            )*)*
        }
        #[cfg(feature = "net")]
        mod sockets {
            $($(
                #[test]
                fn $sentence() {
                    crate::$part::$sentence(&crate::host::sockets());
                }
            )*)*
        }
    };
}

on_every_transport! {
    reading::{
        a_journal_is_read_while_another_thread_writes_it,
        what_is_trimmed_is_said_and_the_rest_is_given,
        a_stream_is_given_when_its_writer_is_gone,
        a_stream_of_this_process_is_given_as_far_as_its_writer_says,
        streams_are_found_when_they_come,
        changes_are_listed_and_times_found,
        a_list_is_over_when_every_stream_was_looked_at,
        what_is_put_is_handed_on_and_floors_are_noted,
        how_far_consumers_are_is_known_when_their_publisher_is_gone,
        damage_is_named_and_the_rest_is_given,
    },
    hostile::{
        garbage_is_answered_and_harms_nobody,
        no_name_leads_out_of_the_folder,
        ten_thousand_questions_at_once_are_bounded_and_hold_nobody_up,
        a_peer_that_never_reads_holds_nobody_up,
        faults_on_the_way_are_survived,
    },
}
