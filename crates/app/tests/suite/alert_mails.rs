//! Who is mailed which alerts.

use std::collections::BTreeSet;

use claviger_app::{Actor, AppError, UpdateMember};
use claviger_domain::alert::AlertKind;
use claviger_domain::audit::Source;
use claviger_domain::member::{Member, Role};
use claviger_domain::secret::PresentedSecret;

use crate::suite::support::{Deployment, commit, plain};

const DAY_SECONDS: i64 = 24 * 3600;

impl Deployment {
    pub(crate) async fn join(&self, name: &str, role: Role) -> Member {
        let (operator, email) = (Actor::operator(), format!("{name}@example.com").parse().unwrap());
        let invited = commit(self.app.invite_member(&operator, self.organization, &email, role, false)).await;
        let token = invited.unwrap().value.token.unwrap().into_clear();
        let token = PresentedSecret::new(&token);
        commit(self.app.accept_invitation(&operator, token, name.parse().unwrap())).await.unwrap().value
    }

    async fn choose(&self, actor: &Actor, of: &Member, kinds: Option<&[AlertKind]>) -> Result<Member, AppError> {
        let kinds: Option<BTreeSet<_>> = kinds.map(|kinds| kinds.iter().copied().collect());
        let input = UpdateMember { alert_mails: Some(kinds), ..UpdateMember::default() };
        commit(self.app.update_member(actor, of.organization, of.id, input)).await.map(|done| done.value)
    }

    /// Who was mailed what, since the last time.
    async fn mailed(&self) -> BTreeSet<(String, String)> {
        self.app.run_due().await.unwrap();
        let mut mailed = BTreeSet::new();
        for file in std::fs::read_dir(self.mail_folder()).into_iter().flatten() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let value = |head: &str| text.lines().find_map(|line| line.strip_prefix(head)).unwrap().to_owned();
            let to = value("To: ").split(['<', '@']).nth(1).unwrap().to_owned();
            mailed.insert((to, value("Subject: Alert: ").split(' ').next().unwrap().to_owned()));
            std::fs::remove_file(path).unwrap();
        }
        mailed
    }
}

fn acting(member: &Member) -> Actor {
    Actor::member(member.id, None, Source::Unknown)
}

fn expected(pairs: &[(&str, AlertKind)]) -> BTreeSet<(String, String)> {
    pairs.iter().map(|(who, kind)| ((*who).to_owned(), kind.to_string())).collect()
}

#[tokio::test]
async fn each_member_is_mailed_what_they_chose_or_what_their_role_has() {
    let deployment = Deployment::start().await;
    deployment.set_up_delivery(None);
    let (age, unused) = (AlertKind::KeyAge90, AlertKind::KeyUnused90);
    deployment.join("owner", Role::Owner).await;
    let admin = deployment.join("admin", Role::Admin).await;
    let developer = deployment.join("developer", Role::Developer).await;
    deployment.join("viewer", Role::Viewer).await;
    deployment.create("tork", plain("Production")).await.unwrap();
    deployment.clock.advance_seconds(91 * DAY_SECONDS);
    deployment.app.evaluate_alerts().await.unwrap();
    let by_role = [("owner", age), ("owner", unused), ("admin", age), ("admin", unused)];
    assert_eq!(deployment.mailed().await, expected(&by_role));

    deployment.choose(&acting(&admin), &admin, Some(&[unused])).await.unwrap();
    deployment.choose(&acting(&developer), &developer, Some(&[age])).await.unwrap();
    deployment.clock.advance_seconds(7 * DAY_SECONDS);
    deployment.app.evaluate_alerts().await.unwrap();
    let chosen = [("owner", age), ("owner", unused), ("admin", unused), ("developer", age)];
    assert_eq!(deployment.mailed().await, expected(&chosen));

    // Nothing at all is another choice than none.
    deployment.choose(&acting(&admin), &admin, None).await.unwrap();
    deployment.choose(&Actor::operator(), &developer, Some(&[])).await.unwrap();
    deployment.clock.advance_seconds(7 * DAY_SECONDS);
    deployment.app.evaluate_alerts().await.unwrap();
    assert_eq!(deployment.mailed().await, expected(&by_role));
}

#[tokio::test]
async fn members_choose_for_themselves_and_for_whom_they_manage() {
    let deployment = Deployment::start().await;
    let owner = deployment.join("owner", Role::Owner).await;
    let admin = deployment.join("admin", Role::Admin).await;
    let viewer = deployment.join("viewer", Role::Viewer).await;
    let kinds = Some(&[AlertKind::Quota100][..]);
    let of_viewer = deployment.choose(&acting(&viewer), &viewer, kinds).await.unwrap();
    assert_eq!(of_viewer.alert_mails, Some(BTreeSet::from([AlertKind::Quota100])));
    deployment.choose(&acting(&admin), &viewer, None).await.unwrap();
    deployment.choose(&acting(&owner), &admin, kinds).await.unwrap();
    for (actor, of) in [(&viewer, &admin), (&viewer, &owner), (&admin, &owner)] {
        let refused = deployment.choose(&acting(actor), of, kinds).await;
        assert!(matches!(refused, Err(AppError::Forbidden { .. })), "{refused:?}");
    }
    // It opens no way to another role or name.
    for (name, role) in [(Some("Boss".parse().unwrap()), None), (None, Some(Role::Owner))] {
        let input = UpdateMember { name, role, alert_mails: Some(None) };
        let refused = deployment.app.update_member(&acting(&viewer), viewer.organization, viewer.id, input).await;
        assert!(matches!(refused, Err(AppError::Forbidden { .. })));
    }
    // Nor to another organization.
    let stranger = claviger_domain::id::OrganizationId::from_u128(7);
    let input = UpdateMember { alert_mails: Some(None), ..UpdateMember::default() };
    let missing = deployment.app.update_member(&acting(&viewer), stranger, viewer.id, input).await;
    assert!(matches!(missing, Err(AppError::NotFound { .. })));
}
