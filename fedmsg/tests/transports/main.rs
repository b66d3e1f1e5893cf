//! One contract, and every transport that has to keep it: memory, tcp and ipc.

mod ends;
mod grounds;

mod asking;
mod carrying;
mod following;
mod waiting;

/// Runs each function of the contract as a test of its own.
macro_rules! contract {
    ($transport:ident: $($part:ident::{$($sentence:ident),* $(,)?}),* $(,)?) => {
        mod $transport {
            $($(
                #[test]
                fn $sentence() {
                    crate::$part::$sentence(&crate::grounds::$transport());
                }
            )*)*
        }
    };
}

/// The contract, for one transport.
macro_rules! keeps_the_contract {
    ($transport:ident) => {
        contract! { $transport:
            carrying::{
                frames_arrive_whole_and_in_order,
                whoever_comes_late_gets_nothing_from_before,
                every_subscriber_gets_everything,
                several_outlets_reach_one_inlet_and_are_told_apart,
                what_was_sent_before_the_end_arrives,
                a_frame_that_is_too_long_never_arrives_and_later_ones_do,
                other_than_two_frames_are_counted,
            },
            following::{
                an_endpoint_is_added_and_removed,
                an_endpoint_moves,
                following_the_same_again_changes_nothing,
                nothing_arrives_from_who_is_not_followed_any_more,
                an_endpoint_that_is_down_is_told_once_and_harms_nobody,
                subscribers_come_and_go,
            },
            asking::{
                everybody_gets_the_answers_to_his_own_requests,
                a_whole_answer_waits_for_who_reads_it_late,
                who_never_reads_costs_a_bounded_sum_and_holds_nobody_up,
                who_was_behind_is_told_of_and_gets_more,
                holders_come_and_go,
                a_peer_that_is_gone_is_no_longer_answered,
                too_much_in_one_request_harms_nobody,
                an_address_has_one_responder,
                both_ends_are_woken_from_another_thread,
            },
            waiting::{
                an_address_has_one_owner,
                a_stopped_reader_holds_nobody_up_for_long,
                an_outlet_is_woken_from_another_thread,
                an_inlet_is_woken_from_another_thread,
            },
        }
    };
}

keeps_the_contract!(memory);
#[cfg(feature = "net")]
keeps_the_contract!(tcp);
#[cfg(feature = "net")]
keeps_the_contract!(ipc);
