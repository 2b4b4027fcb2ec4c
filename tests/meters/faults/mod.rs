//! What goes wrong on real buses, from scenario files of the simulator, through the real link.
//!
//! Where each row of the table of what goes wrong is tested ("meter_faults" is this program):
//!
//! | Seen on real buses | Tests |
//! |---|---|
//! | a late reply is taken for the next request's | `late::*` here, with the proof that a client that keeps its connection takes the wrong value; `meter_pymodbus` (`late_answers_of_a_foreign_server_…`); `meter_tcp`, `meter_rtu` and `meter_rtu_over_tcp` (`a_late_answer_…`, `late_answers_…`) |
//! | a short reply is accepted | `answers::a_short_or_broken_answer_is_no_value_and_the_next_one_is`; `meter_tcp::wire` (`an_answer_that_breaks_the_protocol_…`) |
//! | several readers on one gateway, meters that take one client | `gateway::many_units_share_one_connection`, `gateway::a_meter_that_takes_one_client_is_read_when_it_is_free`, `gateway::a_meter_that_throws_the_older_client_out_is_won_back`; `meter_links::two_links_never_share_a_gateway_or_a_port` |
//! | devices that need air between requests | `gateway::the_gap_is_kept_between_the_units_of_a_gateway`; `meter_tcp::schedule::the_gap_and_the_connect_delay_are_kept` |
//! | a merged read that crosses a gap | `meter_tcp::wire` (`a_gap_between_registers_is_never_read`, `a_merged_read_is_split_after_exception_2_and_stays_split`) |
//! | one dead unit slows the bus for all | `gateway::a_dead_unit_leaves_its_neighbour_its_period`; `meter_tcp::schedule` (`the_first_timeout_of_a_unit_skips_the_rest_of_that_unit`); `meter_serial::cases::a_dead_unit_beside_a_living_one` |
//! | transient exceptions and configuration faults | `answers::exceptions_are_told_apart_and_keep_the_connection`; `meter_tcp::wire::an_exception_keeps_the_connection` |
//! | sentinels decoded as 0 W | `values::a_sentinel_is_unavailable_and_never_zero`; `meter_profiles` |
//! | old values with fresh stamps, frozen meters | `values::a_frozen_meter_loses_its_fresh_stamp`; `meter_tcp::wire` (`a_reading_is_stamped_when_it_arrives`, `an_implausible_value_and_a_frozen_one_…`) |
//! | a meter that refreshes every 10 to 60 s | `values::a_slow_refresh_is_learned_and_a_lag_is_not_taken_for_it`; `control::ramp::old_samples_raise_nothing` |
//! | a failed meter makes the controller skip its cycle | `control::tests::closed_loop::a_lost_meter_takes_the_fleet_to_its_fail_safe_and_back`; `e2e::faults::a_killed_meter_takes_the_fleet_to_its_fail_safe_and_back` |
//! | "tcp" to a transparent serial gateway | `gateway::a_link_of_the_wrong_kind_never_gives_a_value`; `meter_links::a_link_is_of_one_of_three_kinds` |
//! | unit 255 by default, gateways that rewrite it | `answers::a_short_or_broken_answer_is_no_value_and_the_next_one_is` (`wrong-unit`); `gateway::a_unit_that_is_not_there_is_told_apart_from_a_dead_one`; the configuration has no default for `unit` |
//! | wrong sign or scale | `values::a_jump_shows_at_once_and_is_refused_where_it_is_implausible`; `sim_plant_meters::signs_are_turned_where_the_site_turns_them` |
//!
//! Links that are tried: Modbus TCP, RTU over TCP and RTU on a pseudo-terminal.

mod answers;
mod bench;
mod gateway;
mod late;
mod values;
