"""What the settings say of an identity provider: whose tokens are taken, and how people sign in there."""

from service.console.identity_provider import IdentityProvider, Registration
from service.front.access.issuer_keys import IssuerKeys
from service.front.access.key_ring import KeyRing
from service.front.access.tokens import TokenRules, Tokens
from service.secret_values import secret_of
from service.settings import Settings


def open_tokens(settings: Settings, ring: KeyRing, audience: str | None) -> Tokens | None:
    """Those that are made for `audience`. None without one, or where no identity provider is set."""
    if settings.oidc_issuer is None or audience is None:
        return None
    rules = TokenRules(
        settings.oidc_issuer,
        audience,
        settings.oidc_algorithms,
        settings.oidc_team_claim,
        settings.oidc_role_claim,
    )
    return Tokens(rules, IssuerKeys(settings.oidc_issuer), ring)


def open_identity_provider(settings: Settings, ring: KeyRing) -> IdentityProvider | None:
    """For the console's login. None where no identity provider is set, or the service has no name there."""
    tokens = open_tokens(settings, ring, settings.oidc_client_id)
    if tokens is None or settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    secret = secret_of(settings.oidc_client_secret)
    registration = Registration(settings.oidc_issuer, settings.oidc_client_id, secret, settings.oidc_scopes)
    return IdentityProvider(registration, tokens)
