// The function app: one Flex Consumption plan, one app, its settings. No setting holds a secret.
param name string
param planName string
param location string
param tags object
param instanceMemoryMB int
param maximumInstanceCount int
param httpConcurrency int
param alwaysReadyHttp int
param identityId string
param identityClientId string
param storageName string
param packageContainer string
param applicationInsightsConnection string
@description('Of the virtual network. Empty: none.')
param subnetId string

// Of the AI services; empty where there is none.
param openAiEndpoint string
param openAiDeployment string
@description('The deployment of a model for embeddings. Empty: none.')
param openAiEmbedding string
param contentSafetyEndpoint string
param searchEndpoint string
param mlflowTrackingUri string
@description('Of an OpenTelemetry collector. Empty: none.')
param otlpEndpoint string

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    tier: 'FlexConsumption'
    name: 'FC1'
  }
  properties: {
    // Linux.
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  // By this tag `azd deploy` finds where the service `app` of azure.yaml goes.
  tags: union(tags, {
    'azd-service-name': 'app'
  })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      remoteDebuggingEnabled: false
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${account.properties.primaryEndpoints.blob}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      // A custom handler: the host starts our executable and speaks HTTP with it.
      runtime: {
        name: 'custom'
        version: '1.0'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReadyHttp == 0 ? [] : [
          {
            name: 'http'
            instanceCount: alwaysReadyHttp
          }
        ]
        triggers: {
          http: {
            perInstanceConcurrency: httpConcurrency
          }
        }
      }
    }
  }
}

var openAiSettings = empty(openAiEndpoint) ? {} : {
  AZURE_OPENAI_ENDPOINT: openAiEndpoint
  AZURE_OPENAI_DEPLOYMENT: openAiDeployment
}
var embeddingSettings = empty(openAiEndpoint) || empty(openAiEmbedding) ? {} : {
  AZURE_OPENAI_EMBEDDING_DEPLOYMENT: openAiEmbedding
}
var contentSafetySettings = empty(contentSafetyEndpoint) ? {} : {
  AZURE_CONTENT_SAFETY_ENDPOINT: contentSafetyEndpoint
}
var searchSettings = empty(searchEndpoint) ? {} : {
  AZURE_SEARCH_ENDPOINT: searchEndpoint
}
var mlflowSettings = empty(mlflowTrackingUri) ? {} : {
  MLFLOW_TRACKING_URI: mlflowTrackingUri
}
var telemetrySettings = empty(otlpEndpoint) ? {} : {
  OTEL_EXPORTER_OTLP_ENDPOINT: otlpEndpoint
}

resource settings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'appsettings'
  properties: union(openAiSettings, embeddingSettings, contentSafetySettings, searchSettings, mlflowSettings, telemetrySettings, {
    // Which identity the app's own storage and AI clients take.
    AZURE_CLIENT_ID: identityClientId
    // Triggers, the host and the app reach storage by identity.
    AzureWebJobsStorage__blobServiceUri: account.properties.primaryEndpoints.blob
    AzureWebJobsStorage__queueServiceUri: account.properties.primaryEndpoints.queue
    AzureWebJobsStorage__tableServiceUri: account.properties.primaryEndpoints.table
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: identityClientId
    APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnection
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
    // Signs people in without a client secret: the identity vouches for the app registration. See authentication.bicep.
    OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID: identityClientId
    // Files are announced over the queue `storage-events`. Blob triggers are the other way to learn of them; they need a
    // webhook subscription with a key, and would tell the app everything twice.
    'AzureWebJobs.customers-uploaded.Disabled': 'true'
    'AzureWebJobs.content-changed.Disabled': 'true'
    'AzureWebJobs.outcomes-uploaded.Disabled': 'true'
  })
}

// Deployment is by Entra only: no publishing user and password.
resource noScmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

output name string = app.name
output host string = app.properties.defaultHostName
