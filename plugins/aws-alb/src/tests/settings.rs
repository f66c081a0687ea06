//! What the operator may set, and what follows from it.

use super::*;

#[test]
fn keys_stand_where_the_part_of_the_cloud_has_them() {
    let url = |signer: &str, rules: Value| {
        let mock = request(
            &changed(json!({ "signers": [SIGNER, signer] }), &rules),
            &header(&json!({ "signer": signer })),
            &claims(&json!({})),
        );
        line(&mock);
        match &mock.verified()[0].1 {
            Keys::PemUrl(url) => url.clone(),
            other => panic!("{other:?}"),
        }
    };
    let in_region = |partition: &str, region: &str| {
        SIGNER.replace("arn:aws", &format!("arn:{partition}")).replace("eu-central-1", region)
    };
    assert_eq!(
        url(&in_region("aws-us-gov", "us-gov-west-1"), json!({})),
        "https://s3-us-gov-west-1.amazonaws.com/aws-elb-public-keys-prod-us-gov-west-1/{kid}"
    );
    assert_eq!(
        url(&in_region("aws-cn", "cn-north-1"), json!({})),
        "https://public-keys.auth.elb.cn-north-1.amazonaws.com.cn/{kid}"
    );
    let own = json!({ "key_url": "https://keys.example/{kid}.pem" });
    assert_eq!(url(&in_region("aws-iso", "us-iso-east-1"), own), "https://keys.example/{kid}.pem");
}

#[test]
fn settings_are_refused_before_they_take_traffic() {
    let check = |changes: &Value| <AwsAlb as Authenticator>::check(&Mock::get("/").document(&settings(changes)));
    for good in
        [json!({}), json!({ "client": "c", "issuer": "https://idp.example", "key_url": "https://k.example/{kid}" })]
    {
        assert!(check(&good).is_ok(), "{good}");
    }
    for bad in [
        json!({ "signers": null }),
        json!({ "signers": [] }),
        json!({ "signers": [""] }),
        json!({ "signers": [SIGNER, "*"] }),
        json!({ "signers": [SIGNER.replace("/app/", "/net/")] }),
        json!({ "signers": [SIGNER.replace("123456789012", "1")] }),
        json!({ "signers": [SIGNER.replace("eu-central-1", "eu.evil.example/")] }),
        json!({ "signers": [SIGNER.replace("arn:aws", "arn:aws-iso")] }),
        json!({ "key_url": "https://k.example/" }),
        json!({ "key_url": "http://k.example/{kid}" }),
        json!({ "key_url": "https://k.example/{kid}/{kid}" }),
        json!({ "key_url": "https://{kid}.k.example/" }),
        json!({ "key_url": "https://k.example{kid}" }),
        json!({ "client": "" }),
        json!({ "issuer": "" }),
        json!({ "leeway_seconds": 301 }),
        json!({ "session_cookie": "a b" }),
        json!({ "algorithms": ["HS256"] }),
    ] {
        assert!(matches!(check(&bad), Err(Failure::Misconfigured(_))), "{bad}");
    }
}
