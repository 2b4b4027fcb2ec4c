//! Meters on a serial port: a pseudo-terminal with devices at its other end that can do everything wrong.

use crate::meter_serial;

use meter_serial::{Kind, cases};

const KIND: Kind = Kind::Pty;

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_is_never_taken_for_that_of_the_next_request() {
    cases::late_now_and_then(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_answers_while_it_recovers_are_not_taken_for_others_either() {
    cases::late_in_a_row(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_always_answers_too_late_has_no_value_at_all() {
    cases::always_late(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_one_answer_behind_is_never_believed() {
    cases::one_behind(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_the_protocol_drops_the_connection_and_keeps_the_reading() {
    cases::malformed(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_whole_drops_the_connection_and_keeps_the_reading() {
    cases::unreachable(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_of_what_is_sent_is_no_fault() {
    cases::echoes(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_keeps_the_connection() {
    cases::exceptions_keep_the_link(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_is_left_alone_after_a_failure_and_listened_to_before_it_is_believed() {
    cases::silence_after_a_failure(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_unit_costs_its_neighbour_little() {
    cases::a_dead_unit_beside_a_living_one(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_unit_is_read_again_when_it_comes_back() {
    cases::a_dead_unit_that_comes_back(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_nobody_asked_for_never_become_a_value() {
    cases::unasked_bytes(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_with_another_master_is_not_talked_into() {
    cases::a_line_that_is_never_silent(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_was_unplugged_is_read_again() {
    cases::unplugged_and_plugged_in_again(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_points_come_over_the_line_and_are_never_crossed() {
    cases::other_points(KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_bits_come_over_the_line() {
    cases::single_bits(KIND).await;
}
