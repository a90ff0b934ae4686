//! `/admin/v1/mail`

use axum::extract::State;
use axum::response::Response;
use claviger_domain::id::MailId;
use claviger_domain::mail::EmailAddress;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerState;
use crate::answer::Answer;
use crate::error::Failure;
use crate::extract::Operator;
use crate::idempotency::finish;
use crate::json::Json;
use crate::query::{Nothing, Query};

pub(crate) fn router() -> OpenApiRouter<ServerState> {
    OpenApiRouter::new().routes(routes!(test))
}

/// Where to send a test.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct TestMailBody {
    /// Whose mailbox.
    #[schema(value_type = String, max_length = 254, example = "ada@example.com")]
    to: EmailAddress,
}

/// A mail that will be sent.
#[derive(Serialize, ToSchema)]
struct QueuedMail {
    /// Its id, which its `Message-ID` and the server's log name.
    #[schema(value_type = String)]
    id: MailId,
}

/// Send a mail that says that mails arrive.
///
/// The answer says that it will be sent. Where it cannot be, the server's log says why, and it is tried again for three days.
#[utoipa::path(
    post,
    path = "/admin/v1/mail/test",
    operation_id = "adminTestMail",
    tag = "Mail",
    request_body = TestMailBody,
    responses((status = 200, description = "The mail.", body = QueuedMail))
)]
async fn test(
    operator: Operator,
    State(state): State<ServerState>,
    Query(Nothing): Query<Nothing>,
    Json(body): Json<TestMailBody>,
) -> Result<Response, Failure> {
    let mutation = state.app.send_test_mail(operator.actor(), body.to).await?;
    let answer = |id, revision| Ok(Answer::ok(&QueuedMail { id })?.revision(revision));
    finish(&state, operator.keyed(), mutation, answer).await
}
