//! What every backbone must do, as tests that any of them can run: one `async fn` a behaviour, each on a backbone of its
//! own. A behaviour panics where it is not met. Enabled by the feature `suite`; how fast or how durable a backbone is
//! against a power cut is left to the tests of the implementation.

mod fixtures;
pub mod handshakes;
pub mod live;
pub mod log;
pub mod presence;
pub mod registry;
pub mod replay;
pub mod sessions;

pub use fixtures::{open_rules, open_topic_rules};

use crate::Backbone;

/// Runs each of the named behaviours on a new backbone.
macro_rules! behaviours {
    ($make:expr; $($module:ident::$behaviour:ident),+ $(,)?) => {
        $(
            eprintln!("suite: {}::{}", stringify!($module), stringify!($behaviour));
            $module::$behaviour($make().await).await;
        )+
    };
}

/// Runs the whole suite. `make` gives a new, empty backbone each time, which allows every creation ([`open_rules`]).
pub async fn run<M>(make: M)
where
    M: AsyncFn() -> Backbone,
{
    behaviours! { make;
        log::appends_are_numbered_in_order,
        log::a_slot_takes_one_message,
        log::two_writes_to_one_slot_at_once_leave_one,
        log::an_unknown_transaction_is_refused_like_a_foreign_one,
        log::one_id_created_twice_at_once_is_created_once,
        log::appends_to_many_transactions_at_once_all_arrive,
        log::an_abort_is_followed_by_the_closing_record,
        log::nothing_enters_after_a_close,
        log::equal_results_complete_the_transaction,
        log::a_close_needs_the_right_to_close,
        replay::reads_go_on_from_any_place,
        replay::limits_bound_a_page_and_one_message_always_comes,
        replay::a_letter_reaches_its_addressee_alone,
        replay::each_party_has_its_own_chain_of_prev,
        replay::a_stranger_reads_an_empty_end,
        live::live_copies_equal_the_log,
        live::an_overflowing_mailbox_is_told_and_the_log_has_all,
        live::state_documents_reach_their_addressees,
        live::a_mailbox_that_comes_later_finds_the_rest_in_the_log,
        registry::standings_come_in_order_and_in_pages,
        registry::the_journal_and_the_slots_tell_what_was_written,
        registry::changes_of_state_are_marked,
        sessions::a_take_over_fences_the_owner_before,
        sessions::what_was_saved_is_found_again,
        sessions::a_clean_start_forgets,
        sessions::an_expired_session_is_forgotten,
        sessions::a_take_over_says_how_long_a_session_lasts,
        sessions::a_removed_session_is_gone_and_its_epoch_stays_used,
        sessions::sessions_of_two_parties_with_one_client_id_are_two,
        handshakes::a_publish_with_a_receipt_enters_the_log_once,
        handshakes::a_receipt_lasts_until_it_is_released,
        handshakes::a_refusal_leaves_no_receipt,
        handshakes::a_repeated_slot_has_its_receipt,
        handshakes::a_take_over_fences_receipts_and_steps,
        handshakes::a_take_over_in_the_middle_of_queued_publishes_divides_them,
        handshakes::a_clean_start_and_an_end_forget_handshakes,
        handshakes::receipts_of_two_sessions_are_two,
        handshakes::steps_of_deliveries_are_found_again,
        handshakes::what_is_settled_goes_with_the_cursors_that_passed_it,
        presence::epochs_grow_with_each_arrival,
        presence::a_party_is_present_while_one_session_is,
        presence::parties_are_listed_in_pages,
        presence::watchers_hear_of_both_edges,
    }
}
