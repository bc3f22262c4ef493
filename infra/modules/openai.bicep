// Azure OpenAI with one deployed model, which writes the drafts, and perhaps one for embeddings.
param name string
param location string
param tags object
param deployment string
param model string
param modelVersion string
param capacity int
@description('A model for embeddings. Empty: none.')
param embedding string
@description('For its private endpoint. Empty: it is reached over the internet.')
param subnetId string

resource account 'Microsoft.CognitiveServices/accounts@2025-12-01' = {
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: {
    name: 'S0'
  }
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    // Entra takes only an account with a name of its own.
    customSubDomainName: name
    disableLocalAuth: true
    publicNetworkAccess: empty(subnetId) ? 'Enabled' : 'Disabled'
  }
}

resource writer 'Microsoft.CognitiveServices/accounts/deployments@2025-12-01' = {
  parent: account
  name: deployment
  sku: {
    name: 'GlobalStandard'
    capacity: capacity
  }
  properties: {
    model: {
      format: 'OpenAI'
      name: model
      version: modelVersion
    }
    // A campaign's report names the model's version: it changes when you change it, or when it is withdrawn.
    versionUpgradeOption: 'OnceCurrentVersionExpired'
  }
}

resource embedder 'Microsoft.CognitiveServices/accounts/deployments@2025-12-01' = if (!empty(embedding)) {
  parent: account
  name: empty(embedding) ? 'none' : embedding
  sku: {
    name: 'GlobalStandard'
    capacity: capacity
  }
  properties: {
    model: {
      format: 'OpenAI'
      name: embedding
    }
    // Vectors of two versions could not be compared.
    versionUpgradeOption: 'NoAutoUpgrade'
  }
  // An account does one thing at a time.
  dependsOn: [
    writer
  ]
}

module endpoint 'private-endpoint.bicep' = if (!empty(subnetId)) {
  name: '${name}-endpoint'
  params: {
    name: 'pe-${name}'
    location: location
    tags: tags
    subnetId: subnetId
    resourceId: account.id
    group: 'account'
    zones: [
      'privatelink.openai.azure.com'
    ]
  }
  // An account does one thing at a time.
  dependsOn: [
    writer
    embedder
  ]
}
