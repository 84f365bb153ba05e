//! What every home of the hot state must do, as tests over any home.
//!
//! Not here: what only one home promises (crashes, full disks). Invariant: a case uses the trait alone and
//! brings its own time.

pub(crate) mod bounds;
pub(crate) mod corrections;
pub(crate) mod counts;
mod fixtures;
pub(crate) mod money;
pub(crate) mod refusals;
pub(crate) mod scopes;
pub(crate) mod settlement;
pub(crate) mod threads;

pub(crate) use fixtures::*;

/// Names every case to the macro that runs them.
macro_rules! hot_state_cases {
    ($run:ident, $fresh:expr) => {
        $run!($fresh, refusals: {
            a_refusal_changes_nothing,
            a_bound_token_belongs_to_its_first_user,
            a_once_token_is_good_for_one_call,
            a_token_is_one_tenants,
            a_clock_that_steps_makes_no_token_good_twice,
            a_rate_refusal_says_exactly_how_long_to_wait,
            a_rate_counts_over_the_longest_refusing_window,
            a_call_that_costs_nothing_still_counts,
        });
        $run!($fresh, money: {
            every_budget_must_have_room,
            a_grant_tells_the_least_left_before_its_hold,
            a_refusal_tells_when_the_budget_resets,
            an_overspent_budget_refuses_even_free_calls,
            a_retry_counts_once,
            many_gateways_do_not_multiply_a_budget,
            windows_begin_empty_and_leave_the_last_one_as_it_was,
        });
        $run!($fresh, settlement: {
            a_settlement_replaces_the_estimate,
            a_cost_above_the_estimate_is_charged_in_full,
            a_released_hold_frees_its_money,
            a_second_settlement_changes_nothing,
            an_unsettled_hold_is_charged_once_it_is_overdue,
            a_late_settlement_corrects_the_estimate,
            a_lost_hold_is_charged_once,
            a_settlement_too_late_to_tell_is_refused,
            a_settlement_after_midnight_counts_on_the_day_of_its_call,
            a_settled_call_asked_again_gets_its_grant_and_no_hold,
        });
        $run!($fresh, scopes: {
            a_call_counts_in_every_scope_and_any_of_them_refuses,
            budgets_of_other_names_are_other_budgets,
            a_rolling_window_adds_up_its_hours,
            a_rolling_window_frees_money_hour_by_hour,
            a_long_window_knows_its_oldest_hour_too,
            a_rolling_window_that_holds_nothing_says_its_whole_length,
            a_rolling_window_counts_a_cost_in_the_hour_of_its_call,
            a_rolling_window_is_not_passed_out_of_order,
            a_grant_names_its_tightest_budget,
            warnings_begin_where_they_are_set,
            a_soft_budget_lets_pass_and_tells,
            as_many_budgets_as_there_may_be_count_at_once,
        });
        $run!($fresh, counts: {
            agents_tenants_and_tools_are_counted_apart,
            rates_are_counted_all_or_none,
            a_grant_tells_the_nearest_rate,
            calls_under_way_are_limited_for_each_scope,
            a_call_nobody_ends_is_under_way_until_its_hold_expires,
            a_call_that_costs_nothing_is_under_way_too,
            calls_under_way_are_one_tenants,
        });
        $run!($fresh, corrections: {
            a_hold_grows_to_what_is_asked_for_once,
            a_hold_that_grew_is_charged_in_full_when_it_is_overdue,
            a_budget_without_room_refuses_growth_and_keeps_the_hold,
            growth_counts_in_the_windows_of_the_decision,
            a_hold_that_ended_does_not_grow,
            a_correction_counts_once,
            a_rolling_window_is_corrected_as_a_whole,
        });
        $run!($fresh, bounds: {
            sums_at_the_top_of_what_counts_exactly_stay_there,
            an_unlimited_budget_counts_without_refusing,
        });
        $run!($fresh, threads: {
            spend_is_exact_whatever_the_order,
        });
    };
}

/// Every case as a test of its own against the home that `$fresh` makes, if it can be had here.
macro_rules! each_alone {
    ($fresh:expr, $module:ident: { $($case:ident,)+ }) => {
        mod $module {
            use super::*;
            $(
                #[test]
                fn $case() {
                    let Some(home) = $fresh else { return };
                    $crate::conformance::run($crate::conformance::$module::$case(&home));
                }
            )+
        }
    };
}

/// All cases in one test, for homes that are slow to begin; `$fresh` empties one.
macro_rules! one_after_the_other {
    ($fresh:expr, $module:ident: { $($case:ident,)+ }) => {
        $(
            $crate::conformance::run($crate::conformance::$module::$case(&$fresh));
        )+
    };
}
pub(crate) use {each_alone, hot_state_cases, one_after_the_other};
