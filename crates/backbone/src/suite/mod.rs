//! What every backbone must do, as tests that any of them can run: one `async fn` a behaviour, each on a backbone of its
//! own. A behaviour panics where it is not met. Enabled by the feature `suite`; how fast or how durable a backbone is
//! against a power cut is left to the tests of the implementation.

mod fixtures;
pub mod handshakes;
mod listener;
pub mod live;
pub mod log;
pub mod ordinary;
pub mod presence;
pub mod registry;
pub mod replay;
pub mod retained;
pub mod sessions;
pub mod shared;
pub mod wills;

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
        ordinary::what_is_said_waits_for_a_session_that_is_away,
        ordinary::live_copies_are_what_the_queue_holds_until_it_is_done_with,
        ordinary::a_message_lasts_until_the_last_queue_lets_go,
        ordinary::at_qos_0_nothing_waits,
        ordinary::overlapping_subscriptions_bring_one_delivery,
        ordinary::no_local_leaves_out_what_the_session_published,
        ordinary::retain_is_forwarded_as_published_only_where_asked_for,
        ordinary::nobody_hears_what_no_rule_lets_them_hear,
        ordinary::nothing_is_added_after_an_unsubscribe_or_an_end,
        ordinary::nothing_waits_for_a_session_that_has_expired,
        ordinary::a_full_queue_refuses_the_publish_and_nothing_of_it_is_kept,
        ordinary::a_publish_with_a_receipt_is_made_once,
        ordinary::the_order_of_a_publisher_is_kept,
        ordinary::a_subscription_that_is_made_again_misses_nothing,
        retained::a_new_subscription_brings_the_last_one_of_each_topic,
        retained::an_empty_payload_clears_and_is_delivered,
        retained::only_a_publish_with_retain_touches_it,
        retained::at_qos_0_it_comes_through_the_queue,
        retained::an_expired_one_is_not_brought,
        retained::it_comes_before_what_is_said_later,
        retained::rights_are_checked_when_it_is_brought,
        retained::very_many_come_in_slices,
        shared::each_message_goes_to_one_member_in_turn,
        shared::each_member_hears_at_its_own_qos,
        shared::groups_and_own_subscriptions_are_apart,
        shared::members_that_are_there_come_first,
        shared::what_a_member_leaves_reaches_another,
        shared::without_another_member_it_waits,
        shared::what_is_left_stays_where_every_member_is_away,
        shared::what_is_under_way_at_qos_2_stays_with_its_member,
        shared::a_member_that_has_expired_is_passed_over,
        shared::the_bound_of_a_queue_holds_where_a_message_comes_twice,
        wills::a_will_is_kept_from_the_connect_on,
        wills::a_will_is_said_once,
        wills::a_will_without_retain_is_not_retained,
        wills::a_will_is_heard_by_all_who_have_room,
        wills::a_will_that_is_not_there_is_not_said,
        wills::a_take_over_takes_a_will_back_or_says_it,
        wills::a_will_under_tx_is_taken_back_by_whoever_comes_back,
        wills::a_will_under_tx_enters_the_log,
        wills::a_will_without_rights_is_forgotten,
        presence::epochs_grow_with_each_arrival,
        presence::a_party_is_present_while_one_session_is,
        presence::parties_are_listed_in_pages,
        presence::watchers_hear_of_both_edges,
    }
}
