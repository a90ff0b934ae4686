//! Whoever acts for a member has that member's role and no more: every operation of the admin API × every role, and who
//! gives, takes and ends which role.

use claviger_domain::id::{MemberId, OrganizationId};
use claviger_domain::member::Role;
use claviger_domain::peer::Peer;
use serde_json::json;

use crate::access::{self, Row, rows_of};
use crate::deployment::Deployment;
use crate::document::operations;

const ROLES: [Role; 4] = [Role::Viewer, Role::Developer, Role::Admin, Role::Owner];

/// What members may do; everything else of the admin API is the operator's. `stranger` owns another organization, `nobody`
/// is the id of no member.
const TABLE: &str = "
    operation             viewer developer admin owner stranger nobody
    adminListMembers      200    200       200   200   404      404
    adminShowMember       200    200       200   200   404      404
    adminUpdateMember     403    403       200   200   404      404
    adminListMemberKeys   200    200       200   200   404      404
    adminRemoveMember     403    403       200   200   404      404
    adminListInvitations  200    200       200   200   404      404
    adminInviteMember     403    403       201   201   404      404
    adminRevokeInvitation 403    403       200   200   404      404
    adminListKeys         200    200       200   200   200      404
    adminCreateKey        403    201       201   201   404      404
    adminShowKey          200    200       200   200   404      404
    adminUpdateKey        403    200       200   200   404      404
    adminRevokeKey        403    200       200   200   404      404
    adminRotateKey        403    200       200   200   404      404
    adminDisableKey       403    200       200   200   404      404
    adminEnableKey        403    200       200   200   404      404
    adminShowUsage        200    200       200   200   404      404
";

/// The rows of the table, and for each other operation of the admin API one of refusals.
fn rows() -> Vec<Row> {
    let mut rows = rows_of(TABLE);
    let callers: Vec<String> = rows[0].expected.iter().map(|(caller, _)| caller.clone()).collect();
    for (operation, method, path) in operations() {
        if path.starts_with("/admin/") && rows.iter().all(|row| row.operation != operation) {
            let expected = callers.iter().map(|caller| (caller.clone(), 403)).collect();
            rows.push(Row { operation, method, path, expected });
        }
    }
    rows
}

#[tokio::test]
async fn a_member_does_what_their_role_may_and_nothing_of_the_operator_s() {
    let deployment = Deployment::start().await;
    let mut people = Vec::new();
    for role in ROLES {
        people.push(deployment.member(role).await);
    }
    people.push(deployment.member_of(deployment.theirs, Role::Owner).await);
    people.push(MemberId::from_u128(1));
    let token = deployment.admin_token().await;
    let mut wrong = Vec::new();
    for row in rows() {
        for (position, (caller, expected)) in row.expected.iter().enumerate() {
            let target = access::target(&deployment, &row).await;
            let call = deployment.internal(&format!("{} {target}", row.method));
            let call = call.header("claviger-member", people[position].to_string());
            // By either way the operator comes.
            let call = if position % 2 == 0 { call.peer(Some(Peer::Socket)) } else { call.bearer(&token) };
            let reply = access::filled(&deployment, &row, call).await.send().await;
            if reply.status != *expected {
                wrong.push(format!("{} {caller}: {expected} expected, {reply:?}", row.operation));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether somebody of a role may give, take and end another one, as the glossary has it.
fn may(mine: Role, other: Role) -> bool {
    mine == Role::Owner || (mine == Role::Admin && other != Role::Owner)
}

struct People {
    deployment: Deployment,
    path: String,
}

impl People {
    async fn start() -> Self {
        let deployment = Deployment::start().await;
        let path = format!("/admin/v1/organizations/{}", deployment.mine);
        Self { deployment, path }
    }

    async fn give(&self, by: MemberId, to: MemberId, role: Role) -> u16 {
        let what = format!("PATCH {}/members/{to}", self.path);
        let call = self.deployment.as_member(by, &what).json(&json!({"role": role.as_str()}));
        call.send().await.status.as_u16()
    }

    async fn role_of(&self, id: MemberId) -> String {
        let shown = self.deployment.operator(&format!("GET {}/members/{id}", self.path)).send().await.expect(200);
        shown["role"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn nobody_gives_or_takes_a_role_above_their_own() {
    let people = People::start().await;
    let deployment = &people.deployment;
    // So that no refusal is for want of an owner.
    deployment.member(Role::Owner).await;
    for mine in ROLES {
        let actor = deployment.member(mine).await;
        for theirs in ROLES {
            for wanted in ROLES {
                let other = deployment.member(theirs).await;
                let is_allowed = may(mine, theirs) && may(mine, wanted);
                let status = people.give(actor, other, wanted).await;
                assert_eq!(status, if is_allowed { 200 } else { 403 }, "{mine:?} makes a {theirs:?} a {wanted:?}");
                let role = if is_allowed { wanted } else { theirs };
                assert_eq!(people.role_of(other).await, role.as_str(), "{mine:?} {theirs:?} {wanted:?}");
            }
        }
        // Nor for themselves.
        for wanted in ROLES {
            let oneself = deployment.member(mine).await;
            let expected = if may(mine, mine) && may(mine, wanted) { 200 } else { 403 };
            assert_eq!(people.give(oneself, oneself, wanted).await, expected, "{mine:?} makes themselves a {wanted:?}");
        }
    }
}

#[tokio::test]
async fn nobody_invites_or_ends_a_role_above_their_own() {
    let people = People::start().await;
    let (deployment, path) = (&people.deployment, &people.path);
    deployment.member(Role::Owner).await;
    for mine in ROLES {
        let actor = deployment.member(mine).await;
        for theirs in ROLES {
            let send = async |what: String, body: serde_json::Value| {
                deployment.as_member(actor, &what).json(&body).send().await.status.as_u16()
            };
            let refused = |otherwise: u16| if may(mine, theirs) { otherwise } else { 403 };
            let email = format!("{}.{}@example.com", mine.as_str(), theirs.as_str());
            let body = json!({"email": email, "role": theirs.as_str(), "send_mail": false});
            assert_eq!(send(format!("POST {path}/invitations"), body).await, refused(201), "{mine:?} {theirs:?}");
            let (open, _) = deployment.invite(theirs).await;
            let what = format!("DELETE {path}/invitations/{open}");
            assert_eq!(deployment.as_member(actor, &what).send().await.status, refused(200), "{mine:?} {theirs:?}");
            let other = deployment.member(theirs).await;
            let what = format!("POST {path}/members/{other}/remove");
            assert_eq!(send(what.clone(), json!({"dry_run": true})).await, refused(200), "{mine:?} {theirs:?}");
            assert_eq!(send(what, json!({})).await, refused(200), "{mine:?} {theirs:?}");
        }
    }
}

#[tokio::test]
async fn what_is_another_organization_s_is_not_found_under_one_s_own() {
    let deployment = Deployment::start().await;
    let owner = deployment.member(Role::Owner).await;
    let member = deployment.member_of(deployment.theirs, Role::Viewer).await;
    let (invitation, _) = deployment.invite_to(deployment.theirs, Role::Viewer).await;
    let (mine, theirs) = (deployment.mine, deployment.theirs);
    let paths = |organization: OrganizationId| {
        [
            (format!("GET /admin/v1/organizations/{organization}/members/{member}"), None),
            (format!("GET /admin/v1/organizations/{organization}/members/{member}/keys"), None),
            (format!("PATCH /admin/v1/organizations/{organization}/members/{member}"), Some(json!({"name": "x"}))),
            (format!("PATCH /admin/v1/organizations/{organization}/members/{member}"), Some(json!({}))),
            (format!("POST /admin/v1/organizations/{organization}/members/{member}/remove"), Some(json!({}))),
            (format!("DELETE /admin/v1/organizations/{organization}/invitations/{invitation}"), None),
        ]
    };
    // Whoever looks, by whichever of the two organizations: the things of one are not the other's.
    let cases = paths(mine).into_iter().chain(paths(theirs));
    for (position, (what, body)) in cases.enumerate() {
        let mut callers = vec![deployment.as_member(owner, &what)];
        if position < paths(mine).len() {
            callers.push(deployment.operator(&what));
        }
        for call in callers {
            let call = if let Some(body) = &body { call.json(body) } else { call };
            assert_eq!(call.send().await.error().0, 404, "{what} {body:?}");
        }
    }
    // An heir in another organization is none.
    let leaver = deployment.member(Role::Developer).await;
    let what = format!("POST /admin/v1/organizations/{mine}/members/{leaver}/remove");
    let refused = deployment.as_member(owner, &what).json(&json!({"rest": "hand_over", "to": member})).send().await;
    assert_eq!((refused.error().0, refused.error().2.as_deref()), (400, Some("to")));
}
