//! pending
/// x
pub fn router(_: std::sync::Arc<crate::state::Gateway>) -> axum::Router {
    axum::Router::new()
}
