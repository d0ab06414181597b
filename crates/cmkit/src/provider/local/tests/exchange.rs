//! Import, export, restore.

use std::fs;
use std::process::Command;

use super::*;

fn import(f: &Fixture, key: &KeyRef, text: impl AsRef<[u8]>) -> Result<KeyId> {
    f.provider.import(key, text.as_ref())
}

#[test]
fn a_backup_restores_the_same_versions_in_the_same_order() {
    let (f, first) = Fixture::with_key("k");
    let second = f.provider.rotate("k").unwrap();
    let rsa = f.provider.create_key("r", KeyType::Rsa3072).unwrap();
    f.provider.disable(&first).unwrap();
    let backups: Vec<_> = [&second, &first, &rsa]
        .iter()
        .map(|id| f.provider.export(id).unwrap())
        .collect();
    let wrapped = [&second, &rsa].map(|id| wrap(&f.provider, id).unwrap());

    let restored = Fixture::new();
    for (id, backup) in [&second, &first, &rsa].into_iter().zip(&backups) {
        let key = id.without_version();
        assert_eq!(import(&restored, &key, backup.expose()).unwrap(), *id);
        // Again is no harm.
        assert_eq!(import(&restored, &key, backup.expose()).unwrap(), *id);
        assert_eq!(import(&restored, id, backup.expose()).unwrap(), *id);
        assert_eq!(fs::read(restored.path(id, "jwk")).unwrap(), backup.expose());
        assert_eq!(fs::read(f.path(id, "jwk")).unwrap(), backup.expose());
    }
    for wrapped in &wrapped {
        assert_opens(&restored.provider, wrapped);
    }
    let infos = restored.provider.show(&name("k")).unwrap();
    assert_eq!(
        infos.iter().map(|i| &i.id).collect::<Vec<_>>(),
        [&first, &second]
    );
    assert!(infos[1].newest);
}

#[test]
fn a_version_is_never_given_to_another_key() {
    let (f, id) = Fixture::with_key("k");
    let wrapped = wrap(&f.provider, &id).unwrap();
    let backup = f.provider.export(&id).unwrap();
    let text = std::str::from_utf8(backup.expose()).unwrap();
    let k = text
        .split("\"k\": \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    for other in [
        text.replace(k, &"A".repeat(43)),
        text.replace("\"cmkit_seq\": 1", "\"cmkit_seq\": 2"),
        text.replace("\"cmkit_created\": ", "\"cmkit_created\": 1"),
    ] {
        let error = import(&f, &name("k"), other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read(f.path(&id, "jwk")).unwrap(), backup.expose());

    // Neither after it was destroyed, and only by a decision with the same key.
    f.provider.destroy(&id).unwrap();
    let error = import(&f, &name("k"), text).unwrap_err();
    let tombstone = f.path(&id, "destroyed");
    assert_eq!(error.kind(), ErrorKind::Policy);
    assert!(
        error.to_string().contains(tombstone.to_str().unwrap()),
        "{error}"
    );
    fs::remove_file(tombstone).unwrap();
    import(&f, &name("k"), text).unwrap();
    assert_opens(&f.provider, &wrapped);
}

#[test]
fn a_damaged_file_is_replaced_and_kept() {
    let (f, id) = Fixture::with_key("k");
    let wrapped = wrap(&f.provider, &id).unwrap();
    let backup = f.provider.export(&id).unwrap();
    fs::write(f.path(&id, "jwk"), "damaged").unwrap();
    import(&f, &name("k"), backup.expose()).unwrap();
    assert_opens(&f.provider, &wrapped);
    let kept = fs::read_dir(f.path(&id, "jwk").parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains(".jwk.damaged-"));
    assert_eq!(fs::read(kept.unwrap()).unwrap(), b"damaged");
    assert_eq!(f.provider.list().unwrap().len(), 1);
}

#[test]
fn kids_decide_the_version_only_where_they_are_of_this_key() {
    let f = Fixture::new();
    let k = "A".repeat(43);
    let jwk = |kid: &str| format!("{{\"kty\":\"oct\",\"kid\":\"{kid}\",\"k\":\"{k}\"}}");
    let version = "0123456789abcdef0123456789abcdef";
    let v = |version: &str| name("k").with_version(version).unwrap();

    for kid in [
        "mine",
        "https://v.example/keys/k/0123456789abcdef0123456789abcdef",
        "",
    ] {
        let id = import(&f, &name("k"), jwk(kid)).unwrap();
        assert_ne!(id.version(), version, "{kid}");
        assert!(info(&f.provider, &id).newest);
    }
    let id = import(&f, &name("k"), jwk(&format!("local:k/{version}"))).unwrap();
    assert_eq!(id, v(version));
    let wanted = "f".repeat(32);
    assert_eq!(import(&f, &v(&wanted), jwk("mine")).unwrap(), v(&wanted));
    for (key, kid) in [
        (name("k"), format!("local:other/{version}")),
        (name("k"), "local:k".to_owned()),
        (name("k"), "local:k/1".to_owned()),
        (name("k"), "local:../k/1".to_owned()),
        (v(&wanted).into(), format!("local:k/{version}")),
    ] {
        assert_eq!(
            import(&f, &key, jwk(&kid)).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
    let before = f.provider.list().unwrap().len();
    assert_eq!(before, 5);
}

#[test]
fn public_halves_wrap_for_where_the_private_one_is() {
    let private = Fixture::new();
    let public = Fixture::new();
    let id = private.provider.create_key("k", KeyType::Rsa3072).unwrap();
    let jwk = private.provider.export_public_jwk(&id).unwrap();
    assert!(!jwk.contains("\"d\""));
    assert_eq!(import(&public, &name("k"), &jwk).unwrap(), id);
    assert!(info(&public.provider, &id).public_only);

    let wrapped = wrap(&public.provider, &name("k")).unwrap();
    assert_eq!(wrapped.key, id);
    assert_opens(&private.provider, &wrapped);
    let error = unwrap(&public.provider, &wrapped).err().unwrap();
    assert_eq!(error.kind, ProviderErrorKind::Unusable);
    assert!(
        error.to_string().contains("only its public half"),
        "{error}"
    );
    let error = provider_error(public.provider.rotate("k"));
    assert_eq!(error.kind, ProviderErrorKind::Unusable);

    // The other half is another file, and files don't change.
    let secret = private.provider.export(&id).unwrap();
    let error = import(&public, &name("k"), secret.expose()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);

    // PEM has no version; one can be given.
    let pem = private.provider.export_public(&id).unwrap();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.ends_with("-----\n"));
    assert_ne!(
        import(&public, &name("other"), &pem).unwrap().version(),
        id.version()
    );
    let other = Fixture::new();
    assert_eq!(import(&other, &id, &pem).unwrap(), id);
    assert_opens(&private.provider, &wrap(&other.provider, &id).unwrap());
    assert_eq!(other.provider.export_public(&id).unwrap(), pem);

    let oct = private.provider.create_key("o", KeyType::Oct256).unwrap();
    let error = private.provider.export_public(&oct).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn rsa_files_with_numbers_that_do_not_fit_are_refused() {
    let f = Fixture::new();
    let id = f.provider.create_key("k", KeyType::Rsa3072).unwrap();
    let good = String::from_utf8(f.provider.export(&id).unwrap().expose().to_vec()).unwrap();
    let member = |name: &str| {
        let start = good.find(&format!("\"{name}\": \"")).unwrap() + name.len() + 5;
        start..start + good[start..].find('"').unwrap()
    };
    let with = |name: &str, value: &str| {
        let mut text = good.clone();
        text.replace_range(member(name), value);
        text
    };
    let flipped = |name: &str| {
        let range = member(name);
        let middle = range.start + range.len() / 2;
        let mut text = good.clone();
        let other = if &good[middle..=middle] == "A" {
            "B"
        } else {
            "A"
        };
        text.replace_range(middle..=middle, other);
        text
    };
    let mut variants = vec![
        with("e", "Aw"),
        with("e", ""),
        with("n", &good[member("p")]),
        with("n", ""),
        good.replacen('{', "{\"oth\": [],", 1),
        good.replace("RSA-OAEP-256", "RSA-OAEP"),
        good.replace("RSA-OAEP-256", "RSA1_5"),
    ];
    for name in ["n", "d", "p", "q", "dp", "dq", "qi"] {
        variants.push(good.replace(&format!("\"{name}\""), "\"x\""));
        variants.push(flipped(name));
        variants.push(with(name, ""));
    }
    let other = Fixture::new();
    for text in &variants {
        assert_ne!(*text, good);
        let error = import(&other, &name("k"), text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
    }
    assert_eq!(other.provider.list().unwrap(), []);
    // Numbers that some programs pad with zeros are the same numbers.
    let padded = format!("AAAA{}", &good[member("qi")]);
    assert_eq!(import(&other, &name("k"), with("qi", &padded)).unwrap(), id);
    assert_eq!(
        other.provider.export(&id).unwrap().expose(),
        good.as_bytes()
    );
}

/// Runs openssl in `dir`; `None` where it isn't installed.
fn openssl(dir: &Path, arguments: &str) -> Option<Vec<u8>> {
    let output = match Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(dir)
        .output()
    {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{error}"),
    };
    assert!(
        output.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output.stdout)
}

#[test]
fn keys_of_openssl_are_taken_and_ours_by_openssl() {
    let f = Fixture::new();
    let home = f.provider.dir().to_owned();
    let run = |arguments: &str| openssl(&home, arguments);
    let read = |file: &str| fs::read(home.join(file)).unwrap();
    let generate = "genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:";
    if run(&format!("{generate}3072 -out key.pem")).is_none() {
        return;
    }
    let id = import(&f, &name("k"), read("key.pem")).unwrap();
    assert_eq!(info(&f.provider, &id).key_type, Some(KeyType::Rsa3072));
    let wrapped = wrap(&f.provider, &id).unwrap();
    assert_opens(&f.provider, &wrapped);

    // What is wrapped here, openssl unwraps.
    fs::write(home.join("wrapped"), &wrapped.wrapped).unwrap();
    let oaep =
        "-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256";
    let plain = run(&format!(
        "pkeyutl -decrypt -inkey key.pem -in wrapped {oaep}"
    ))
    .unwrap();
    assert_eq!(plain, CAPSULE);

    let public = run("pkey -in key.pem -pubout").unwrap();
    assert_eq!(f.provider.export_public(&id).unwrap().as_bytes(), public);
    let with_crlf = String::from_utf8(public.clone())
        .unwrap()
        .replace('\n', "\r\n");
    for text in [public, with_crlf.into_bytes()] {
        let id = import(&f, &name("public"), text).unwrap();
        assert!(info(&f.provider, &id).public_only);
    }

    // And what is wrapped by openssl under our key, we unwrap.
    let ours = f.provider.create_key("ours", KeyType::Rsa4096).unwrap();
    fs::write(
        home.join("pub.pem"),
        f.provider.export_public(&ours).unwrap(),
    )
    .unwrap();
    fs::write(home.join("plain"), CAPSULE).unwrap();
    let by_openssl = run(&format!(
        "pkeyutl -encrypt -pubin -inkey pub.pem -in plain {oaep}"
    ))
    .unwrap();
    assert_opens(
        &f.provider,
        &WrappedKey {
            key: ours,
            algorithm: WrapAlgorithm::RsaOaep256,
            wrapped: by_openssl,
        },
    );

    // What is not taken says what to do about it.
    run("rsa -in key.pem -traditional -out pkcs1.pem").unwrap();
    run("rsa -in key.pem -RSAPublicKey_out -out pkcs1-pub.pem").unwrap();
    run("pkcs8 -topk8 -in key.pem -passout pass:x -out encrypted.pem").unwrap();
    run("req -x509 -key key.pem -subj /CN=x -out cert.pem").unwrap();
    run(&format!("{generate}2048 -out small.pem")).unwrap();
    run(&format!(
        "{generate}3072 -pkeyopt rsa_keygen_pubexp:3 -out e3.pem"
    ))
    .unwrap();
    run(&format!(
        "{generate}3072 -pkeyopt rsa_keygen_primes:3 -out primes.pem"
    ))
    .unwrap();
    run("genpkey -quiet -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:3072 -out pss.pem").unwrap();
    run("genpkey -quiet -algorithm ed25519 -out ed.pem").unwrap();
    for (file, says) in [
        ("pkcs1.pem", "-topk8"),
        ("pkcs1-pub.pem", "-RSAPublicKey_in"),
        ("encrypted.pem", "has a password"),
        ("cert.pem", "openssl x509"),
        ("small.pem", "neither 3072 nor 4096"),
        ("e3.pem", "65537"),
        ("primes.pem", "more than two primes"),
        ("pss.pem", "not an RSA key (rsaEncryption)"),
        ("ed.pem", "not an RSA key"),
    ] {
        let error = import(&f, &name("refused"), read(file)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(says), "{file}: {error}");
    }
    for (advice, file) in [
        (
            "pkcs8 -topk8 -nocrypt -in pkcs1.pem -out new.pem",
            "new.pem",
        ),
        (
            "rsa -RSAPublicKey_in -in pkcs1-pub.pem -pubout -out new.pem",
            "new.pem",
        ),
        ("x509 -in cert.pem -noout -pubkey -out new.pem", "new.pem"),
    ] {
        run(advice).unwrap();
        import(&f, &name("advised"), read(file)).unwrap_or_else(|e| panic!("{advice}: {e}"));
    }

    let good = read("key.pem");
    for bad in [
        [&good[..], &good[..]].concat(),
        [&good[..], b"x"].concat(),
        [b"x\n", &good[..]].concat(),
        good[..good.len() - 30].to_vec(),
        good[30..].to_vec(),
        b"-----BEGIN PRIVATE KEY-----".to_vec(),
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n".to_vec(),
        Vec::new(),
        vec![b'{'; 70_000],
        vec![0xFF; 100],
    ] {
        let error = import(&f, &name("refused"), &bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert!(f.provider.show(&name("refused")).is_err());
}
