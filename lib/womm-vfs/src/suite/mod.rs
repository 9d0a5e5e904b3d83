//! What every backend must do: one body of cases, and random operations compared with a model.
//!
//! ```text
//! struct Disk { /* … */ }
//! impl womm_vfs::suite::Backend for Disk { /* … */ }
//! womm_vfs::suite!(Disk);
//! ```
//!
//! makes a `#[tokio::test]` of each case. Cases panic where a backend is wrong.
#![allow(clippy::unwrap_used, reason = "it is a test")]

pub mod attributes;
pub mod content;
pub mod create;
pub mod killed;
pub mod link;
pub mod listing;
mod model;
pub mod names;
pub mod random;
pub mod remove;
pub mod rename;
mod session;
pub mod together;
pub mod xattr;

use crate::vfs::Vfs;
use std::sync::Arc;

pub use session::Session;

/// How the suite gets at a file system.
pub trait Backend: Sized + Send + 'static {
    /// The file system.
    type Vfs: Vfs;

    /// An empty one.
    fn fresh() -> Self;

    /// The one at hand.
    fn vfs(&self) -> &Arc<Self::Vfs>;

    /// The same again, as after a restart of the server: nothing is open.
    #[must_use]
    fn restart(self) -> Self;
}

/// Makes the tests of a [`Backend`].
#[macro_export]
macro_rules! suite {
    ($backend:ty) => {
        $crate::suite!(@module $backend, attributes: [
            a_mode_is_kept_without_setuid,
            times_are_kept_to_the_nanosecond,
            what_cannot_be_set_is_refused,
            every_change_counts,
            a_change_counter_never_goes_back,
            many_nodes_are_asked_for_at_once,
            the_root_answers,
            there_is_room,
        ]);
        $crate::suite!(@module $backend, content: [
            what_was_written_is_read,
            a_hole_reads_as_zeros,
            a_file_without_write_permission_is_written,
            a_size_is_set,
            holes_and_data_are_found,
            room_is_allocated_and_given_back,
            what_is_no_file_has_no_content,
            beyond_what_a_file_holds_is_refused,
            content_outlives_a_restart,
        ]);
        $crate::suite!(@module $backend, create: [
            the_first_attributes_are_kept,
            unchecked_takes_what_is_there,
            guarded_refuses_what_is_there,
            exclusive_may_be_repeated,
            exclusive_may_be_repeated_after_a_restart,
            folders_and_symlinks_refuse_what_is_there,
            a_symlink_keeps_its_target,
            only_folders_have_entries,
            numbers_are_never_given_again,
        ]);
        $crate::suite!(@module $backend, link: [
            names_of_one_file_are_alike,
            links_are_refused_where_linux_does,
            links_outlive_a_restart,
        ]);
        $crate::suite!(@module $backend, listing: [
            parts_make_a_whole,
            bounds_are_kept,
            others_are_seen_once_while_names_come_and_go,
            a_listing_goes_on_after_a_restart,
            a_cookie_whose_name_is_gone_is_good,
            a_listing_shows_attributes,
        ]);
        $crate::suite!(@module $backend, names: [
            any_bytes_make_a_name,
            the_longest_name_is_good,
            a_walk_says_how_far_it_came,
            a_folder_knows_its_parent,
            nodes_are_the_same_after_a_restart,
        ]);
        $crate::suite!(@module $backend, random: [operations_are_as_the_model_says]);
        $crate::suite!(@module $backend, remove: [
            a_name_goes,
            a_folder_goes_only_when_empty,
            what_is_open_stays_until_closed,
            what_was_open_outlives_a_restart,
            what_nobody_reopens_goes,
        ]);
        $crate::suite!(@module $backend, rename: [
            a_file_moves,
            a_file_takes_the_place_of_another,
            a_folder_moves_with_all_below,
            a_folder_takes_the_place_of_an_empty_one,
            two_names_of_one_file_both_stay,
            what_linux_refuses_is_refused,
            a_refused_move_is_no_name,
            a_refused_move_is_no_name_in_a_folder_that_goes,
            what_is_replaced_while_open_stays,
            moves_outlive_a_restart,
        ]);
        $crate::suite!(@module $backend, together: [
            one_of_many_makes_it,
            folders_that_swap_make_no_circle,
            writers_and_listers_do_not_disturb_each_other,
        ]);
        $crate::suite!(@module $backend, xattr: [
            attributes_are_set_listed_and_removed,
            how_decides,
            limits_are_linuxs,
            attributes_outlive_a_restart,
        ]);
    };
    (@module $backend:ty, $module:ident: [$($case:ident),* $(,)?]) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    $crate::suite::$module::$case::<$backend>().await;
                }
            )*
        }
    };
}
