// An Azure Machine Learning workspace for its MLflow server, with the storage account and the vault that it insists on.
// No compute: nothing here costs money while it is idle but a few cents of storage.
param name string
@description('Makes the names of its storage account and vault unique.')
param token string
param location string
param tags object
param applicationInsightsId string
param appPrincipalId string
@description('For its private endpoints. Empty: it is reached over the internet.')
param subnetId string

var networkAcls = {
  defaultAction: empty(subnetId) ? 'Allow' : 'Deny'
  bypass: 'AzureServices'
}

// Apart from the app's account: whoever reads experiments has no business with customers.
resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'stml${token}'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    networkAcls: networkAcls
  }
}

// Stays empty: the workspace uses no keys.
resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  name: 'kvml${token}'
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 7
    publicNetworkAccess: empty(subnetId) ? 'Enabled' : 'Disabled'
    networkAcls: networkAcls
  }
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' = {
  name: name
  location: location
  tags: tags
  kind: 'Default'
  sku: {
    name: 'Basic'
    tier: 'Basic'
  }
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    friendlyName: 'Experiments of cpo'
    storageAccount: account.id
    keyVault: vault.id
    applicationInsights: applicationInsightsId
    systemDatastoresAuthMode: 'Identity'
    publicNetworkAccess: empty(subnetId) ? 'Enabled' : 'Disabled'
    v1LegacyMode: false
  }
}

// Storage Blob Data Contributor: without keys, whoever logs an artifact writes it as themselves.
var writer = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'

resource grant 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, appPrincipalId, writer)
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', writer)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

module workspaceEndpoint 'private-endpoint.bicep' = if (!empty(subnetId)) {
  name: '${name}-endpoint'
  params: {
    name: 'pe-${name}'
    location: location
    tags: tags
    subnetId: subnetId
    resourceId: workspace.id
    group: 'amlworkspace'
    zones: [
      'privatelink.api.azureml.ms'
      'privatelink.notebooks.azure.net'
    ]
  }
}

module blobEndpoint 'private-endpoint.bicep' = if (!empty(subnetId)) {
  name: '${name}-blob-endpoint'
  params: {
    name: 'pe-${account.name}'
    location: location
    tags: tags
    subnetId: subnetId
    resourceId: account.id
    group: 'blob'
    zones: [
      'privatelink.blob.${environment().suffixes.storage}'
    ]
  }
}
