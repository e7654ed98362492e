use std::sync::Arc;

use tenure_store::Store;

pub(super) async fn secrets_and_settings(store: Arc<dyn Store>) {
    let name = |name: &str| name.to_owned();
    assert_eq!(store.secret(name("anthropic")).await.unwrap(), None);
    store.put_secret(name("openai"), b"first".to_vec()).await.unwrap();
    store.put_secret(name("openai"), b"second".to_vec()).await.unwrap();
    store.put_secret(name("anthropic"), Vec::new()).await.unwrap();
    assert_eq!(store.secret(name("openai")).await.unwrap().as_deref(), Some(&b"second"[..]));
    assert_eq!(store.secret(name("anthropic")).await.unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(store.secret_names().await.unwrap(), ["anthropic", "openai"]);
    assert!(store.remove_secret(name("openai")).await.unwrap());
    assert!(!store.remove_secret(name("openai")).await.unwrap());
    assert_eq!(store.secret(name("openai")).await.unwrap(), None);

    assert_eq!(store.setting(name("model")).await.unwrap(), None);
    store.put_setting(name("model"), Some(name("a"))).await.unwrap();
    store.put_setting(name("model"), Some(name("b"))).await.unwrap();
    assert_eq!(store.setting(name("model")).await.unwrap(), Some(name("b")));
    store.put_setting(name("model"), None).await.unwrap();
    assert_eq!(store.setting(name("model")).await.unwrap(), None);
}
