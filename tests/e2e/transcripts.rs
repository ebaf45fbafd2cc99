//! The examples of the public pages, each played from its text file.
//!
//! Never here: what is expected; see `tests/transcripts/`.

macro_rules! played {
    ($folder:ident, $of:literal: $($name:ident)+) => {
        mod $folder {
            use crate::transcript::{names_in, play};

            $(
                #[tokio::test]
                async fn $name() {
                    play(concat!($of, "/", stringify!($name))).await;
                }
            )+

            #[test]
            fn every_transcript_is_played() {
                let mut played = [$(stringify!($name)),+];
                played.sort_unstable();
                assert_eq!(names_in($of), played);
            }
        }
    };
}

played! {
    socialcrm, "socialcrm":
    rest_accounts
    rest_ai
    rest_both_headers
    rest_create_a_post
    rest_data
    rest_expired
    rest_failed_to_validate
    rest_forbidden_scope
    rest_invalid_request
    rest_list_pages
    rest_list_posts
    rest_media
    rest_not_found
    rest_payment_required
    rest_post_life
    rest_publishing
    rest_quota_exceeded
    rest_rate_limited
    rest_rewrite
    rest_unauthorized
    rest_wrong_method
    rest_x_api_key
    rpc_discovery
    rpc_expired
    rpc_failed_to_validate
    rpc_invalid_key
    rpc_lifecycle
    rpc_limits
    rpc_missing_header
    rpc_paid_tools
    rpc_post_life
    rpc_tools_call
    rpc_tools_list
    rpc_versions
}

played! {
    mcp_cloud, "mcp-cloud":
    rest_chat
    rest_everything_else
    rest_insufficient_permissions
    rest_invalid_api_key
    rest_not_found
    rest_rate_limit_exceeded
    rest_signed_request
}

played! {
    shingleai, "shingleai":
    rpc_contacts
    rpc_insufficient_permissions
    rpc_invalid_key
    rpc_lifecycle
    rpc_month_used_up
    rpc_rate_limit_exceeded
    rpc_tools_list
    sse_opened
}
