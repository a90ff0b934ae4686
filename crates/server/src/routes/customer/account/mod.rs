//! `{base}/account`

mod alerts;
mod usage;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(usage::usage)).routes(routes!(alerts::list)).routes(routes!(alerts::close))
}
