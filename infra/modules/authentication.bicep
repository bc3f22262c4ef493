// Signs people in before they reach the console, with Entra. Programs use function keys and pass by.
//
// What somebody may do there is said by the roles `viewer`, `operator` and `approver` of the app registration
// (app-roles.json), which arrive in the platform's principal header; the app denies whoever has none.
param appName string
param clientId string

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: appName
}

resource authentication 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
    }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'RedirectToLoginPage'
      redirectToProvider: 'azureactivedirectory'
      // Function keys guard these. Blob triggers would need `/runtime/*` as well.
      excludedPaths: [
        '/api/*'
      ]
    }
    httpSettings: {
      requireHttps: true
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: clientId
          // The setting holds the client id of the app's identity, which the registration trusts; there is no secret.
          clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
        }
        validation: {
          allowedAudiences: [
            clientId
            'api://${clientId}'
          ]
          defaultAuthorizationPolicy: {
            allowedApplications: [
              clientId
            ]
          }
        }
      }
    }
    login: {
      // The app needs to know who somebody is, and never acts as them.
      tokenStore: {
        enabled: false
      }
    }
  }
}
