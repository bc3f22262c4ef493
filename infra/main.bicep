// Everything that one `cpo` needs in Azure, in one resource group. docs/deploy.md says what each parameter is for.
targetScope = 'resourceGroup'

@description('Tells this deployment from others; part of the names and a tag of everything.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('A region that offers Flex Consumption: `az functionapp list-flexconsumption-locations`.')
param location string = resourceGroup().location

// ---- The app

@description('Memory of an instance: 512 (with a quarter of a core), 2048 (one) or 4096 (two).')
@minValue(512)
@maxValue(4096)
param instanceMemoryMB int = 2048

@description('How many instances the app may have at most. Caps the bill of a runaway.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('HTTP requests that an instance takes at once before another is started.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 32

@description('HTTP instances that are paid for all the time, so that no request waits for a start.')
@minValue(0)
param alwaysReadyHttp int = 0

// ---- Access

@description('Client id of the app registration that people sign in with. Empty: nobody gets into the console.')
param consoleClientId string = ''

// ---- Data

@description('Copies of the data: LRS in one building, ZRS in three of a region, GRS in a second region as well.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS'])
param storageSku string = 'Standard_LRS'

@description('For so many days nothing in the container `audit` can be changed or deleted. 0: no such rule.')
@minValue(0)
@maxValue(146000)
param auditRetentionDays int = 0

// ---- AI services. Each: empty for none, `create` for a new one, or the resource id of one that exists.

param openAi string = ''
@description('Of the deployment of the model; in an account that exists, the name of a deployment that exists. Prices are looked up by it: it should be the name of the model.')
param openAiDeployment string = 'gpt-4o-mini'
param openAiModel string = 'gpt-4o-mini'
param openAiModelVersion string = '2024-07-18'
@description('In thousands of tokens per minute.')
@minValue(1)
param openAiCapacity int = 50
@description('A model for embeddings, deployed under its own name; in an account that exists, the name of a deployment that exists. Empty: none.')
param openAiEmbedding string = ''

param contentSafety string = ''

param search string = ''
@allowed(['basic', 'standard'])
param searchSku string = 'basic'

@description('An Azure Machine Learning workspace, whose MLflow server tracks the experiments.')
param mlflow string = ''

// ---- Network

@description('Closes storage and the AI services made here to the internet; the app reaches them over private endpoints.')
param privateNetworking bool = false

@description('Public IPv4 addresses or ranges that may reach the storage account all the same, to upload files.')
param clientAddresses array = []

// ---- Watching

@description('Where traces and metrics are sent as OTLP over HTTP, besides the logs. Empty: nowhere.')
param otlpEndpoint string = ''

@description('Gets the alerts. Empty: there are none.')
param alertEmail string = ''

@description('Per month, in the currency of the bill; mails to `alertEmail` at 80 % and when 100 % is foreseen. 0: no budget.')
@minValue(0)
param monthlyBudget int = 0

@description('First day of the month in which the budget was made, as 2026-11-01. Azure refuses to change it later.')
param budgetStart string = ''

var token = uniqueString(resourceGroup().id, environmentName)
var tags = {
  'azd-env-name': environmentName
}
var names = {
  app: 'func-cpo-${token}'
  contentSafety: 'cs-cpo-${token}'
  mlflow: 'mlw-cpo-${token}'
  openAi: 'oai-cpo-${token}'
  search: 'srch-cpo-${token}'
  storage: 'stcpo${token}'
}

// Where each AI service is or would be. Segment 2 of a resource id is its subscription, 4 its resource group.
var openAiId = empty(openAi) || openAi == 'create' ? resourceId('Microsoft.CognitiveServices/accounts', names.openAi) : openAi
var contentSafetyId = empty(contentSafety) || contentSafety == 'create' ? resourceId('Microsoft.CognitiveServices/accounts', names.contentSafety) : contentSafety
var searchId = empty(search) || search == 'create' ? resourceId('Microsoft.Search/searchServices', names.search) : search
var mlflowId = empty(mlflow) || mlflow == 'create' ? resourceId('Microsoft.MachineLearningServices/workspaces', names.mlflow) : mlflow

module identity 'modules/identity.bicep' = {
  name: 'identity'
  params: {
    name: 'id-cpo-${token}'
    location: location
    tags: tags
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  params: {
    name: names.storage
    location: location
    tags: tags
    sku: storageSku
    auditRetentionDays: auditRetentionDays
    isPrivate: privateNetworking
    clientAddresses: clientAddresses
    appPrincipalId: identity.outputs.principalId
  }
}

module events 'modules/events.bicep' = {
  name: 'events'
  params: {
    name: 'evgt-cpo-${token}'
    location: location
    tags: tags
    storageName: storage.outputs.name
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    name: 'cpo-${token}'
    location: location
    tags: tags
    appPrincipalId: identity.outputs.principalId
  }
}

module network 'modules/network.bicep' = if (privateNetworking) {
  name: 'network'
  params: {
    name: 'vnet-cpo-${token}'
    location: location
    tags: tags
  }
}

module storageEndpoints 'modules/private-endpoint.bicep' = [for service in ['blob', 'queue', 'table']: if (privateNetworking) {
  name: 'storage-${service}-endpoint'
  params: {
    name: 'pe-${names.storage}-${service}'
    location: location
    tags: tags
    subnetId: network!.outputs.endpointsSubnetId
    resourceId: storage.outputs.id
    group: service
    zones: ['privatelink.${service}.${environment().suffixes.storage}']
  }
}]

module openAiAccount 'modules/openai.bicep' = if (openAi == 'create') {
  name: 'openai'
  params: {
    name: names.openAi
    location: location
    tags: tags
    deployment: openAiDeployment
    model: openAiModel
    modelVersion: openAiModelVersion
    capacity: openAiCapacity
    embedding: openAiEmbedding
    subnetId: privateNetworking ? network!.outputs.endpointsSubnetId : ''
  }
}

module openAiAccess 'modules/openai-access.bicep' = if (!empty(openAi)) {
  name: 'openai-access'
  scope: resourceGroup(split(openAiId, '/')[2], split(openAiId, '/')[4])
  params: {
    name: last(split(openAiId, '/'))
    appPrincipalId: identity.outputs.principalId
  }
  dependsOn: [
    openAiAccount
  ]
}

module contentSafetyAccount 'modules/content-safety.bicep' = if (contentSafety == 'create') {
  name: 'content-safety'
  params: {
    name: names.contentSafety
    location: location
    tags: tags
    subnetId: privateNetworking ? network!.outputs.endpointsSubnetId : ''
  }
}

module contentSafetyAccess 'modules/content-safety-access.bicep' = if (!empty(contentSafety)) {
  name: 'content-safety-access'
  scope: resourceGroup(split(contentSafetyId, '/')[2], split(contentSafetyId, '/')[4])
  params: {
    name: last(split(contentSafetyId, '/'))
    appPrincipalId: identity.outputs.principalId
  }
  dependsOn: [
    contentSafetyAccount
  ]
}

module searchService 'modules/search.bicep' = if (search == 'create') {
  name: 'search'
  params: {
    name: names.search
    location: location
    tags: tags
    sku: searchSku
    subnetId: privateNetworking ? network!.outputs.endpointsSubnetId : ''
  }
}

module searchAccess 'modules/search-access.bicep' = if (!empty(search)) {
  name: 'search-access'
  scope: resourceGroup(split(searchId, '/')[2], split(searchId, '/')[4])
  params: {
    name: last(split(searchId, '/'))
    appPrincipalId: identity.outputs.principalId
  }
  dependsOn: [
    searchService
  ]
}

module mlflowWorkspace 'modules/mlflow.bicep' = if (mlflow == 'create') {
  name: 'mlflow'
  params: {
    name: names.mlflow
    token: token
    location: location
    tags: tags
    applicationInsightsId: monitoring.outputs.componentId
    appPrincipalId: identity.outputs.principalId
    subnetId: privateNetworking ? network!.outputs.endpointsSubnetId : ''
  }
}

module mlflowAccess 'modules/mlflow-access.bicep' = if (!empty(mlflow)) {
  name: 'mlflow-access'
  scope: resourceGroup(split(mlflowId, '/')[2], split(mlflowId, '/')[4])
  params: {
    name: last(split(mlflowId, '/'))
    appPrincipalId: identity.outputs.principalId
  }
  dependsOn: [
    mlflowWorkspace
  ]
}

module app 'modules/app.bicep' = {
  name: 'app'
  params: {
    name: names.app
    planName: 'plan-cpo-${token}'
    location: location
    tags: tags
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    httpConcurrency: httpConcurrency
    alwaysReadyHttp: alwaysReadyHttp
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    storageName: storage.outputs.name
    packageContainer: storage.outputs.packageContainer
    applicationInsightsConnection: monitoring.outputs.connection
    subnetId: privateNetworking ? network!.outputs.appSubnetId : ''
    openAiEndpoint: empty(openAi) ? '' : openAiAccess!.outputs.endpoint
    openAiDeployment: openAiDeployment
    openAiEmbedding: openAiEmbedding
    contentSafetyEndpoint: empty(contentSafety) ? '' : contentSafetyAccess!.outputs.endpoint
    searchEndpoint: empty(search) ? '' : searchAccess!.outputs.endpoint
    mlflowTrackingUri: empty(mlflow) ? '' : mlflowAccess!.outputs.trackingUri
    otlpEndpoint: otlpEndpoint
  }
  // Without its private endpoints the app would find its storage closed.
  dependsOn: [
    storageEndpoints
  ]
}

module authentication 'modules/authentication.bicep' = if (!empty(consoleClientId)) {
  name: 'authentication'
  params: {
    appName: app.outputs.name
    clientId: consoleClientId
  }
}

module alerts 'modules/alerts.bicep' = if (!empty(alertEmail)) {
  name: 'alerts'
  params: {
    location: location
    tags: tags
    email: alertEmail
    componentId: monitoring.outputs.componentId
    topicId: events.outputs.topicId
  }
}

module budget 'modules/budget.bicep' = if (monthlyBudget > 0 && !empty(alertEmail)) {
  name: 'budget'
  params: {
    amount: monthlyBudget
    start: budgetStart
    email: alertEmail
  }
}

// azd keeps these under the same names: `azd env get-values`.
output CPO_APP_NAME string = app.outputs.name
output CPO_URL string = 'https://${app.outputs.host}'
output CPO_STORAGE_ACCOUNT string = storage.outputs.name
output CPO_IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId
